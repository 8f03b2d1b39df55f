"""Widen a small GPT-2 checkpoint to DistilGPT2's exact size, so that it writes the same text at DistilGPT2's cost.

    python -m benchmarks.widen models/demo/checkpoint FOLDER

Drafts are guessed only in text that can be predicted, and random weights do not write any. The wide model computes the
same function (Net2Net, Chen et al. 2016, https://arxiv.org/abs/1511.05641), and speed does not depend on the values of
weights. Text must stay within the context of the small model: the positions after it repeat those before.
"""

import copy
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.checkpoint import CONTEXT, HEADS, LAYERS, VOCABULARY, WIDTH

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GPT2Config, GPT2LMHeadModel

# Copies of the hidden state: one for the logits, and two that lower the logits of the added tokens.
LEAST_COPIES = 3


def write(source: Path, folder: Path, shape: "GPT2Config | None" = None) -> None:
    """Write the widened checkpoint atomically, of DistilGPT2's size without `shape`.

    Raises:
        ExportError: `source` is not a checkpoint that the exporter supports.
        ValueError: it cannot be widened to this size.
    """
    from transformers import GPT2Config

    from generation.export import hub
    from generation.export.checkpoint import load
    from generation.export.tokens import load_fast

    if shape is None:
        shape = GPT2Config(n_layer=LAYERS, n_head=HEADS, n_embd=WIDTH, n_positions=CONTEXT, vocab_size=VOCABULARY)
    wide = widened(load(hub.find(str(source))).model, shape)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    # The added tokens have no text. The exporter takes their rows for padding.
    load_fast(source).save_pretrained(partial)
    wide.save_pretrained(partial)
    partial.rename(folder)


def widened(model: "GPT2LMHeadModel", shape: "GPT2Config") -> "GPT2LMHeadModel":
    """Return a model of the sizes in `shape` with the logits of `model`; the logits of added tokens are below them.

    Raises:
        ValueError: `model` cannot be widened to these sizes.
    """
    import torch
    from transformers import GPT2LMHeadModel

    _check(model.config, shape)
    config = copy.deepcopy(model.config)
    config.n_embd, config.n_head, config.n_inner = shape.n_embd, shape.n_head, shape.n_inner
    config.n_positions, config.vocab_size = shape.n_positions, shape.vocab_size
    wide: GPT2LMHeadModel = GPT2LMHeadModel(config).eval()
    wide.generation_config = copy.deepcopy(model.generation_config)
    with torch.no_grad():
        for name, parameter in wide.transformer.named_parameters():
            parameter.copy_(_spread(name, model.transformer.get_parameter(name), model.config, config))
        _lower_added(wide, model)
    return wide


def _check(small: "GPT2Config", shape: "GPT2Config") -> None:
    sizes = f"from width {small.n_embd} to {shape.n_embd}"
    if small.n_layer != shape.n_layer:
        raise ValueError(f"the checkpoint has {small.n_layer} layers, wanted are {shape.n_layer}")
    if not small.tie_word_embeddings:
        raise ValueError("the head of the checkpoint is not its embedding table, as DistilGPT2's is")
    if shape.n_embd % small.n_embd or shape.n_embd < LEAST_COPIES * small.n_embd:
        raise ValueError(f"{sizes}: wanted is a multiple, by {LEAST_COPIES} or more")
    if _inner(shape) % _inner(small):
        raise ValueError(f"{sizes}: the inner width {_inner(shape)} is no multiple of {_inner(small)}")
    if shape.n_head % small.n_head or _head_size(shape) < _head_size(small):
        heads = f"{small.n_head} heads of {_head_size(small)} to {shape.n_head} of {_head_size(shape)}"
        raise ValueError(f"{sizes}: {heads}; wanted is a multiple of the heads, none of them smaller")
    if shape.n_positions < small.n_positions or shape.vocab_size < small.vocab_size:
        raise ValueError(f"{sizes}: the context and the vocabulary must not become smaller")


def _inner(config: "GPT2Config") -> int:
    inner: int = config.n_inner or 4 * config.n_embd
    return inner


def _head_size(config: "GPT2Config") -> int:
    size: int = config.n_embd // config.n_head
    return size


def _spread(name: str, value: "Tensor", small: "GPT2Config", wide: "GPT2Config") -> "Tensor":
    """Return the wide value of one parameter, except that the head still has to be corrected.

    All copies of the hidden state are equal, so LayerNorm finds the same mean and variance. What reads equal copies
    adds them up, so its weights are divided by their number. Weights are [inputs, outputs].
    """
    copies, inner = wide.n_embd // small.n_embd, _inner(wide) // _inner(small)
    module, kind = name.rsplit(".", 1)
    if module == "wte":
        rows = value.new_zeros(wide.vocab_size, wide.n_embd)
        rows[: small.vocab_size] = value.tile(1, copies)
        return rows
    if module == "wpe":
        return value.tile(-(-wide.n_positions // small.n_positions), copies)[: wide.n_positions]
    if module.endswith("attn.c_attn"):
        value = _heads(value, 3, small, wide)
        # Attention divides by the root of the head size, which the zeros have raised.
        if wide.scale_attn_weights:
            value[..., : wide.n_embd] *= (_head_size(wide) / _head_size(small)) ** 0.5
        return value.tile(copies, 1) / copies if kind == "weight" else value
    if module.endswith("mlp.c_fc"):
        return value.tile(copies, inner) / copies if kind == "weight" else value.tile(inner)
    if kind == "weight" and module.endswith("attn.c_proj"):
        value = _heads(value.T, 1, small, wide).T / (wide.n_head // small.n_head)
    elif kind == "weight" and module.endswith("mlp.c_proj"):
        value = value.tile(inner, 1) / inner
    return value.tile(*[1] * (value.ndim - 1), copies)


def _heads(value: "Tensor", parts: int, small: "GPT2Config", wide: "GPT2Config") -> "Tensor":
    """Repeat the heads in the last dimension, and fill each with zeros up to its new size."""
    from torch.nn import functional

    split = value.unflatten(-1, (parts, small.n_head, _head_size(small)))
    padded = functional.pad(split, (0, _head_size(wide) - _head_size(small)))
    return padded.repeat_interleave(wide.n_head // small.n_head, dim=-2).flatten(-3)


def _lower_added(wide: "GPT2LMHeadModel", model: "GPT2LMHeadModel") -> None:
    """Let the head see one copy of the hidden state, and put the logits of added tokens below all others.

    The final LayerNorm writes a constant and its negative to one place of two other copies. They cancel out for the
    old tokens, whose rows are equal there. The rows of added tokens have opposite values there, and zeros elsewhere.
    """
    old, width = model.transformer, model.config.n_embd
    norm, table = wide.transformer.ln_f, wide.transformer.wte.weight
    norm.weight[width:] = 0
    norm.bias[width:] = 0
    # A larger constant would widen the range of int8 activations, a smaller one would be rounded coarsely.
    constant = 2 * float(old.ln_f.weight.abs().max())
    norm.bias[width], norm.bias[2 * width] = constant, -constant
    # No logit is further from 0 than the product of the norms. LayerNorm's norm is at most the root of the width.
    largest = float(width**0.5 * old.ln_f.weight.abs().max() + old.ln_f.bias.norm())
    limit = largest * float(old.wte.weight.norm(dim=1).max())
    table[model.config.vocab_size :, width] = -limit / constant
    table[model.config.vocab_size :, 2 * width] = limit / constant


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
