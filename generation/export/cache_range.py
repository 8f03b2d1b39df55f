"""Change the weights so that keys and values fit an int8 cache, without changing the function of the model.

Three changes leave the result of attention as it is: subtracting a constant from a channel of all keys (the softmax
cancels it), dividing a channel of the keys and multiplying the same channel of the queries, and shifting and scaling a
channel of the values if the output projection reverses it. This module uses them to centre every channel and scale it
to the range of int8. Storing keys and values then only needs rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.hooks import RemovableHandle
from transformers import GPT2LMHeadModel

from generation.export.graph import Parameters

# Texts of many kinds, none of which is in the evaluation text.
CALIBRATION_TEXT = Path(__file__).with_name("calibration.txt")
LARGEST = 127
# Factor by which the range exceeds the measured one. Values outside the range are clipped, which costs more perplexity
# than coarser steps. On 20,000 tokens of stories it cost the bundled model 0.6 % at 1.1, 0.2 % at 1.4, and from 1.6 on
# 0.1 %, no more than int8 weights alone.
MARGIN = 1.8


@dataclass(frozen=True, slots=True)
class Range:
    """Minimum and maximum of every channel in one layer, [2, E] each: row 0 for keys, row 1 for values."""

    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]


def run(model: GPT2LMHeadModel, ids: Sequence[int], hooks: Sequence[RemovableHandle]) -> None:
    """Run the model over `ids`, one context at a time, for what its hooks record; then remove the hooks."""
    context = model.config.n_positions
    try:
        for start in range(0, len(ids), context):
            model(torch.tensor([ids[start : start + context]]), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def measure(model: GPT2LMHeadModel, ids: Sequence[int]) -> list[Range]:
    """Run the model over `ids`, one context at a time; return the range of the keys and values of each layer."""
    seen: list[list[torch.Tensor]] = [[] for _ in range(model.config.n_layer)]
    hooks = [
        model.get_submodule(f"transformer.h.{place}.attn.c_attn").register_forward_hook(
            lambda _, __, output, outputs=outputs: outputs.append(output[0])
        )
        for place, outputs in enumerate(seen)
    ]
    run(model, ids, hooks)
    result = []
    for outputs in seen:
        both = torch.cat(outputs)[:, model.config.n_embd :].reshape(-1, 2, model.config.n_embd)
        result.append(Range(both.amin(dim=0).numpy(), both.amax(dim=0).numpy()))
    return result


def fold(parameters: Parameters, ranges: Sequence[Range]) -> Parameters:
    """Return parameters of the same function whose keys and values lie in -127..127 for inputs within `ranges`."""
    result = dict(parameters)
    for layer, found in enumerate(ranges):
        stem = f"transformer.h.{layer}.attn"
        middle = (found.highest + found.lowest) / 2
        half = (found.highest - found.lowest) / 2 * MARGIN
        step = np.where(half > 0, half / LARGEST, 1).astype(np.float32)
        query, key, value = np.split(parameters[f"{stem}.c_attn.weight"], 3, axis=1)
        query_bias, key_bias, value_bias = np.split(parameters[f"{stem}.c_attn.bias"], 3)
        result[f"{stem}.c_attn.weight"] = np.concatenate([query * step[0], key / step[0], value / step[1]], axis=1)
        result[f"{stem}.c_attn.bias"] = np.concatenate(
            [query_bias * step[0], (key_bias - middle[0]) / step[0], (value_bias - middle[1]) / step[1]]
        )
        projection = parameters[f"{stem}.c_proj.weight"]
        result[f"{stem}.c_proj.weight"] = projection * step[1][:, None]
        result[f"{stem}.c_proj.bias"] = parameters[f"{stem}.c_proj.bias"] + middle[1] @ projection
    return result
