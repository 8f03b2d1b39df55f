"""Measure the second moments of the inputs of each layer, which show which rounding errors of its weights matter.

The inputs come from the calibration text, and from text sampled from the checkpoint, which resembles its training data.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call
from tqdm import tqdm
from transformers import GPT2LMHeadModel, StoppingCriteria, StoppingCriteriaList

from generation.export.errors import ExportError
from generation.export.products import HEAD

Moments = Mapping[str, NDArray[np.float32]]

# Number of sampled texts, and tokens in each.
TEXTS, TOKENS = 32, 256
_SEED = 0


def write_texts(model: GPT2LMHeadModel, begin: int) -> torch.Tensor:
    """Sample texts from the checkpoint, starting after the token `begin`, without truncating the distribution.

    Returns:
        Token ids, [TEXTS, TOKENS], or fewer tokens if the context is shorter.

    Raises:
        ExportError: the logits are not finite.
    """
    start = torch.full((TEXTS, 1), begin)
    length = min(TOKENS, model.config.n_positions)
    bar = tqdm(total=length - 1, desc="writing", unit="token", leave=False, disable=None)
    with bar, torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        try:
            # Any, because the type of the result depends on the arguments.
            texts: Any = model.generate(
                start,
                attention_mask=torch.ones_like(start),
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_length=length,
                stopping_criteria=StoppingCriteriaList([_Progress(bar)]),
                # Sampling continues past end-of-text. Nothing is padded, but a missing padding token causes warnings.
                eos_token_id=None,
                pad_token_id=(begin + 1) % model.config.vocab_size,
            )
        except RuntimeError as error:
            raise ExportError(f"the checkpoint cannot write, its weights may be damaged: {error}") from error
    ids: torch.Tensor = texts
    return ids


class _Progress(StoppingCriteria):
    """Counts the tokens of `generate` on a bar, and stops nothing."""

    def __init__(self, bar: "tqdm[NoReturn]") -> None:
        self._bar = bar

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:  # noqa: ARG002
        self._bar.update()
        return cast("torch.BoolTensor", torch.zeros(len(input_ids), dtype=torch.bool))


@torch.inference_mode()
def measure(
    model: GPT2LMHeadModel, parameters: Mapping[str, NDArray[np.float32]], texts: Iterable[Sequence[int]]
) -> Moments:
    """Return the sum of x x^T, [K, K], over all inputs x, [K], of each layer, by the name of the layer.

    The model runs with `parameters`, which must define the same function as its own. No text may exceed its context.
    """
    sums: dict[str, torch.Tensor] = {}
    used = {name: torch.tensor(array) for name, array in parameters.items()}
    with _watch(model, sums):
        for ids in texts:
            functional_call(model, used, kwargs={"input_ids": torch.tensor([ids]), "use_cache": False})
    return {name: total.numpy() for name, total in sums.items()}


@contextmanager
def _watch(model: GPT2LMHeadModel, sums: dict[str, torch.Tensor]) -> Iterator[None]:
    layers = [
        f"transformer.h.{place}.{name}"
        for place in range(model.config.n_layer)
        for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    ]

    def add(name: str, taken: torch.Tensor) -> None:
        rows = taken.flatten(0, -2)
        sums[name] = sums.get(name, 0) + rows.T @ rows

    hooks = [
        model.get_submodule(name).register_forward_pre_hook(lambda _, inputs, name=name: add(name, inputs[0]))
        for name in (*layers, HEAD)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
