"""Train a given GPT-2 model on documents, score it on held-out documents, and save it.

Every fiftieth document is held out. It is never trained on, and scored at the end in bits per character.
"""

import json
import math
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm import tqdm
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from generation.export.errors import ExportError
from generation.export.recipe import Recipe

END_OF_TEXT = "<|endoftext|>"
HELD_OUT_EVERY = 50


def split_documents(text: str) -> tuple[list[str], list[str]]:
    """Split documents into training and held-out ones; every fiftieth is held out."""
    documents = [part.strip() for part in text.split(END_OF_TEXT)]
    documents = [part for part in documents if part]
    held_out = documents[::HELD_OUT_EVERY]
    training = [part for i, part in enumerate(documents) if i % HELD_OUT_EVERY]
    return training, held_out


def batches(documents: list[Tensor], recipe: Recipe, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield windows of shape [batch, context + 1] forever; each epoch joins the documents in a new order."""
    window = recipe.context + 1
    while True:
        order = torch.randperm(len(documents), generator=generator).tolist()
        stream = torch.cat([documents[i] for i in order])
        shift = int(torch.randint(recipe.context, (1,), generator=generator))
        windows = stream[shift:].unfold(0, window, recipe.context)
        for rows in torch.randperm(len(windows), generator=generator).split(recipe.batch):
            if len(rows) == recipe.batch:
                yield windows[rows]


def optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Create the optimizers: Muon (Jordan et al. 2024) for matrices in the blocks, AdamW for all other parameters."""
    named = list(model.named_parameters())
    vectors = [p for _, p in named if p.ndim == 1]
    matrices = [p for name, p in named if p.ndim > 1 and ".h." in name]
    tables = [p for name, p in named if p.ndim > 1 and ".h." not in name]
    found: list[torch.optim.Optimizer] = []
    if recipe.muon_rate:
        found.append(
            torch.optim.Muon(matrices, lr=recipe.muon_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="original")
        )
    else:
        tables += matrices
    groups = [{"params": tables, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [*found, torch.optim.AdamW(groups, lr=recipe.adam_rate, betas=(0.9, 0.98))]


def rate(step: int, steps: int, recipe: Recipe) -> float:
    """Return the factor on the learning rate: linear warm-up, constant, then linear decay to 0.

    The decay takes the last fraction `recipe.decay` of the run.
    """
    warm = max(1, round(steps * recipe.warmup))
    cool = max(1, round(steps * recipe.decay))
    return min(1.0, (step + 1) / warm, (steps - step) / cool)


@torch.inference_mode()
def bits_per_character(
    model: GPT2LMHeadModel, tokenizer: Tokenizer, end: int, documents: list[str], context: int
) -> float:
    """Return the bits per character over all documents.

    Each document follows an end-of-text token, `end`, and its own end-of-text token is scored, too. A document longer
    than the context is scored in windows that overlap by half.
    """
    model.eval()
    nats, characters = 0.0, 0
    for document in documents:
        ids = torch.tensor([end, *tokenizer.encode(document).ids, end])
        characters += len(document)
        scored = 1
        while scored < len(ids):
            start = 0 if scored == 1 else scored - context // 2
            piece = ids[start : start + context + 1]
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(piece[None, :-1]).logits[0].float()
            new = slice(scored - start - 1, None)
            nats += nn.functional.cross_entropy(logits[new], piece[1:][new], reduction="sum").item()
            scored = start + len(piece)
    model.train()
    return nats / math.log(2) / characters


def fit(
    model: GPT2LMHeadModel,
    tokenizer: Tokenizer,
    end: int,
    text: str,
    output: Path,
    *,
    recipe: Recipe,
    compiled: bool,
) -> dict[str, object]:
    """Train `model` in place, and write the checkpoint folder `output`; return the content of ``training.json``.

    The sizes in the recipe must be those of the model. `end` is the end-of-text token between the documents of `text`.

    Raises:
        ExportError: there is too little text for one batch.

    """
    generator = torch.Generator().manual_seed(recipe.seed)
    training, held_out = split_documents(text)
    encoded = [torch.tensor([*e.ids, end]) for e in tokenizer.encode_batch(training)]
    tokens = sum(len(e) for e in encoded)
    if tokens < (needed := (recipe.batch + 1) * recipe.context):
        raise ExportError(
            f"the text has {tokens} tokens to train on, and a batch of {recipe.batch} windows of {recipe.context} "
            f"needs {needed}: give more text, or a smaller --batch or --context"
        )
    optimizer = optimizers(model, recipe)
    initial = [[group["lr"] for group in one.param_groups] for one in optimizer]
    before = bits_per_character(model, tokenizer, end, held_out, recipe.context)

    def loss_of(window: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(window[:, :-1]).logits
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), window[:, 1:].flatten())

    step_loss = torch.compile(loss_of) if compiled else loss_of
    steps = max(1, round(recipe.epochs * tokens / (recipe.batch * recipe.context)))
    source = batches(encoded, recipe, generator)
    started, loss = time.monotonic(), torch.zeros(())
    for step in (progress := tqdm(range(steps), unit="step", mininterval=10)):
        factor = rate(step, steps, recipe)
        for one, rates in zip(optimizer, initial, strict=True):
            for group, lr in zip(one.param_groups, rates, strict=True):
                group["lr"] = lr * factor
        loss = step_loss(next(source))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for one in optimizer:
            one.step()
            one.zero_grad(set_to_none=True)
        if step % 20 == 0:
            progress.set_postfix(loss=f"{loss.item():.3f}")
        if step and step % 500 == 0:
            score = bits_per_character(model, tokenizer, end, held_out[:60], recipe.context)
            tqdm.write(f"step {step}: {score:.4f} bits per character on 60 held-out documents")
            save(model, tokenizer, end, output)
    minutes = (time.monotonic() - started) / 60
    # Score the half-precision weights, because these are saved.
    save(model, tokenizer, end, output)
    shipped = GPT2LMHeadModel.from_pretrained(output, dtype=torch.float32)
    result: dict[str, object] = {
        "recipe": asdict(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "training": {"documents": len(training), "tokens": tokens, "steps": steps, "minutes": round(minutes, 1)},
        "held_out": {
            "documents": len(held_out),
            "characters": sum(len(part) for part in held_out),
            "bits_per_character_before": round(before, 4),
            "bits_per_character": round(bits_per_character(shipped, tokenizer, end, held_out, recipe.context), 4),
        },
        "last_training_loss": round(loss.item(), 4),
        "torch": torch.__version__,
    }
    (output / "training.json").write_text(json.dumps(result, indent=2) + "\n")
    return result


def save(model: GPT2LMHeadModel, tokenizer: Tokenizer, end: int, output: Path) -> None:
    """Write a `transformers` checkpoint in half precision, and its tokenizer."""
    output.mkdir(parents=True, exist_ok=True)
    name = tokenizer.id_to_token(end)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=name, eos_token=name, unk_token=name)
    fast.model_max_length = model.config.n_positions
    fast.save_pretrained(output)
    deepcopy(model).half().save_pretrained(output)
