"""Read ``config.json`` of a checkpoint, and reject what the serving graph does not support."""

import json
from pathlib import Path
from typing import Any

from transformers import GPT2Config

from generation.export.errors import ExportError, in_one_line
from generation.export.graph import Shape
from generation.export.products import Activation

# Activations by their names in `transformers`. GELU is either exact or approximated by tanh (Hendrycks and Gimpel 2016,
# https://arxiv.org/abs/1606.08415).
ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
# The reference export traces a step of at least two tokens that follow as many cached ones.
LEAST_CONTEXT = 4


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        ExportError: the file cannot be read, or does not hold a JSON object.
    """
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ExportError(f"{path} cannot be read: it is not a JSON object")
    return found


def read_configuration(path: Path) -> GPT2Config:
    """Return the configuration of the checkpoint in the folder `path`.

    Raises:
        ExportError: it does not belong to a GPT-2 model, or the serving graph does not support it.
    """
    file = path / "config.json"
    if not file.is_file():
        inside = sorted(one.parent.name for one in path.glob("*/config.json"))
        hint = f"; there is one in {path / inside[-1]}" if inside else ""
        raise ExportError(f"{path} is not a checkpoint: it has no config.json{hint}")
    found = read_json(file)
    if (kind := found.get("model_type")) != "gpt2":
        raise ExportError(f"{path} is not a GPT-2 checkpoint: its config.json has model_type {kind!r}, not 'gpt2'")
    if quantization := found.get("quantization_config"):
        method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
        raise ExportError(
            f"{path} is quantized ({method}): export the checkpoint that it was made from, and choose a --precision"
        )
    if found.get("pruned_heads"):
        raise ExportError(f"{path} has pruned attention heads, which differ in number from layer to layer: not covered")
    try:
        config = GPT2Config(**found)
    except (TypeError, ValueError, AttributeError) as error:
        raise ExportError(f"{file} cannot be read: {in_one_line(error)}") from error
    _check(file, config)
    return config


def _check(file: Path, config: GPT2Config) -> None:
    path = file.parent
    for name in ("n_layer", "n_head", "n_embd", "n_positions", "vocab_size", "n_inner"):
        size = getattr(config, name)
        if name == "n_inner" and size is None:
            continue
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ExportError(f"{file} has {name} {size!r}; wanted is a whole number above 0")
    epsilon = config.layer_norm_epsilon
    if not isinstance(epsilon, (int, float)) or isinstance(epsilon, bool) or not 0 <= epsilon < 1:
        raise ExportError(f"{file} has layer_norm_epsilon {epsilon!r}; wanted is a number from 0 to 1")
    if config.activation_function not in ACTIVATIONS:
        raise ExportError(
            f"{path} uses the activation {config.activation_function!r}; covered are {', '.join(ACTIVATIONS)}"
        )
    if config.add_cross_attention:
        raise ExportError(f"{path} has cross-attention: it is half of an encoder-decoder, which this does not cover")
    if config.n_embd % config.n_head:
        raise ExportError(f"{path} has a width of {config.n_embd}, which {config.n_head} heads do not divide")
    if config.n_positions < LEAST_CONTEXT:
        raise ExportError(
            f"{path} has a context of {config.n_positions} tokens; covered are contexts of {LEAST_CONTEXT} and more"
        )


def shape_of(config: GPT2Config) -> Shape:
    """Return the part of a configuration that the serving graph depends on."""
    return Shape(
        layers=config.n_layer,
        heads=config.n_head,
        head_size=config.n_embd // config.n_head,
        inner=config.n_inner or 4 * config.n_embd,
        vocabulary=config.vocab_size,
        context=config.n_positions,
        epsilon=config.layer_norm_epsilon,
        activation=ACTIVATIONS[config.activation_function],
        scale_by_head_size=config.scale_attn_weights,
        scale_by_layer=config.scale_attn_by_inverse_layer_idx,
    )
