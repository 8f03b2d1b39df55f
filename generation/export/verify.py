"""Compare an artifact with its checkpoint in PyTorch: logits, perplexity and greedy decoding.

The artifact is opened and run by the code of the server, so the results are those of serving.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from generation.engine.interface import Chunk, Logits
from generation.export.checkpoint import Checkpoint
from generation.export.errors import ExportError
from generation.export.reference import reference_logits
from generation.export.report import Greedy, Perplexity, Report
from generation.model.machine import cpu_limit
from generation.model.model import Model
from generation.model.opening import open_artifact
from generation.text.tokenizer import Tokenizer, TokenizerError

if TYPE_CHECKING:
    from generation.export.defaults import CacheType, Precision

EVALUATION_TEXT = Path(__file__).with_name("evaluation.txt")
GREEDY_STEPS = 64
# Lengths of the prompts in tokens: the shortest possible, two usual ones, and one of more than one chunk of prefill.
PROMPT_LENGTHS = (1, 16, 60, 200)
# Minimum number of evaluation tokens.
LEAST_TOKENS = 256
# Number of batch rows, and tokens in a chunk of prefill: the server's defaults.
ROWS, CHUNK = 16, 128


def open_model(folder: Path) -> Model:
    """Open the artifact as the server does, with `ROWS` batch rows and one staging row.

    Raises:
        ArtifactError: the server cannot open it.
    """
    return open_artifact(folder, cpu_limit()).model(batch=ROWS, staging=1, chunk=CHUNK)


def verify(checkpoint: Checkpoint, reference: Path, folder: Path) -> Report:
    """Measure the artifact in `folder` and the portable `reference`.

    Raises:
        ArtifactError: the server cannot open the artifact.
        ExportError: its tokenizer is not the checkpoint's, or some logits are not finite.

    """
    shape = checkpoint.shape
    ids = evaluation_ids(checkpoint)
    opened = open_artifact(folder, cpu_limit())
    _compare_tokenizers(checkpoint, opened.tokenizer)
    model = opened.model(batch=ROWS, staging=1, chunk=CHUNK)
    _check_every_position(model, ids)
    greedy, greedy_difference = _greedy(checkpoint, model, ids)
    cost, text_difference = perplexity(checkpoint, model, ids)
    sample = ids[: min(256, shape.context)]
    against = reference_logits(reference, shape, sample) - _torch_logits(checkpoint, sample).numpy()
    return Report(
        precision=cast("Precision", model.config.precision),
        cache=cast("CacheType", model.config.cache),
        evaluation_tokens=len(ids),
        largest_logit_difference=max(greedy_difference, text_difference),
        reference_logit_difference=float(np.abs(against).max()),
        greedy=greedy,
        perplexity=cost,
    )


def evaluation_ids(checkpoint: Checkpoint) -> list[int]:
    """Return the tokens of the evaluation text, followed by random ones up to `LEAST_TOKENS`."""
    ids: list[int] = checkpoint.tokenizer.encode(EVALUATION_TEXT.read_text(encoding="utf-8")).ids
    known = np.setdiff1d(np.arange(checkpoint.tokens.tokens), checkpoint.tokens.holes)
    lacking = max(0, LEAST_TOKENS - len(ids))
    more: list[int] = np.random.default_rng(0).choice(known, lacking).tolist()
    return ids + more


def _compare_tokenizers(checkpoint: Checkpoint, tokenizer: Tokenizer) -> None:
    text = EVALUATION_TEXT.read_text(encoding="utf-8")
    try:
        found = tokenizer.encode(text)
    except TokenizerError:  # it lacks a token for some byte of the text
        return
    if found != checkpoint.tokenizer.encode(text).ids:
        raise ExportError("the tokenizer of the artifact splits the evaluation text differently from the checkpoint's")


def _check_every_position(model: Model, ids: list[int]) -> None:
    whole = np.resize(ids, model.context).tolist()
    for start in tqdm(range(0, model.context, CHUNK), desc="positions", leave=False, disable=None):
        finite = np.isfinite(model.prefill([Chunk(ROWS, whole[start : start + CHUNK], start, 0)])).all(axis=1)
        if not finite.all():
            place = start + int(finite.argmin())
            raise ExportError(f"the model computes NaN or infinity at position {place} of {model.context}")


@torch.inference_mode()
def _torch_logits(checkpoint: Checkpoint, ids: list[int]) -> torch.Tensor:
    logits: torch.Tensor = checkpoint.model(torch.tensor([ids]), use_cache=False).logits[0]
    return logits


def perplexity(checkpoint: Checkpoint, model: Model, ids: list[int]) -> tuple[Perplexity, float]:
    """Measure perplexity in windows of the whole context; return it with the largest difference of logits.

    All tokens go through the batch, whose cache may be int8, so the perplexity is that of decoding.
    """
    context = checkpoint.shape.context
    windows = [ids[start : start + context] for start in range(0, len(ids), context)]
    nats, expected_nats, scored, difference = 0.0, 0.0, 0, 0.0
    with tqdm(total=len(ids), desc="perplexity", unit="token", leave=False, disable=None) as bar:
        for window in windows:
            expected = _torch_logits(checkpoint, window)
            targets = torch.tensor(window[1:])
            for start in range(0, len(window), ROWS):
                chunk = window[start : start + ROWS]
                logits, reach = torch.from_numpy(model.decode([chunk], [start])), start + len(chunk)
                difference = max(difference, (logits - expected[start:reach]).abs().max().item())
                goal = targets[start:reach]
                nats += functional.cross_entropy(logits[: len(goal)], goal, reduction="sum").item()
                bar.update(len(chunk))
            expected_nats += functional.cross_entropy(expected[:-1], targets, reduction="sum").item()
            scored += len(targets)
    # Beyond e ** 700 there is no float; a model that bad needs no exact figure.
    before, after = (math.exp(min(total / scored, 700)) for total in (expected_nats, nats))
    return Perplexity(before, after, after / before - 1), difference


def _greedy(checkpoint: Checkpoint, model: Model, ids: list[int]) -> tuple[Greedy, float]:
    """Decode prompts of different lengths greedily in one batch; return the results and the largest logit difference.

    PyTorch runs once over each finished sequence. If it would choose every token of the sequence, its own greedy
    decoding gives the same sequence.
    """
    context = checkpoint.shape.context
    steps = min(GREEDY_STEPS, context // 2)
    lengths = sorted({min(length, context - steps) for length in PROMPT_LENGTHS})
    prompts = [ids[10 * i : 10 * i + length] for i, length in enumerate(lengths)]
    first = []
    for row, prompt in enumerate(prompts):
        first.append(_prefill(model, prompt)[-1].copy())
        model.cache.copy(ROWS, row, len(prompt))
    logits = [np.stack(first)]
    for step in tqdm(range(steps - 1), desc="greedy", unit="step", leave=False, disable=None):
        tokens = logits[-1].argmax(axis=1)[:, None].tolist()
        logits.append(model.decode(tokens, [n + step for n in lengths]).copy())
    seen = np.stack(logits, axis=1)
    chosen = seen.argmax(axis=2)

    expected = np.stack(
        [
            _torch_logits(checkpoint, [*prompt, *row[:-1].tolist()])[-steps:].numpy()
            for prompt, row in zip(prompts, chosen, strict=True)
        ]
    )
    margins = expected.max(axis=2) - np.take_along_axis(expected, chosen[:, :, None], axis=2)[:, :, 0]
    _prefill(model, prompts[-1])
    model.cache.copy(ROWS, 0, lengths[-1])
    singly = [
        model.decode([[token]], [lengths[-1] + step])[0].copy() for step, token in enumerate(chosen[-1, :-1].tolist())
    ]
    greedy = Greedy(
        prompts=len(prompts),
        steps=steps,
        agreement=float((margins == 0).mean()),
        largest_margin=float(margins.max()),
        batch_difference=float(np.abs(np.stack(singly) - seen[-1, 1:]).max()) if singly else 0.0,
    )
    return greedy, float(np.abs(seen - expected).max())


def _prefill(model: Model, prompt: list[int]) -> Logits:
    """Prefill the staging row; return the logits of the last chunk, [up to CHUNK, V]."""
    logits = np.empty((0, model.vocabulary), np.float32)
    for start in range(0, len(prompt), CHUNK):
        logits = model.prefill([Chunk(ROWS, prompt[start : start + CHUNK], start, 0)])
    return logits
