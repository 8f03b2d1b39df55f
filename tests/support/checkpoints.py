"""Write small random checkpoints with all parts of a real GPT-2, in a few hundred kilobytes. Imports torch."""

from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from generation.export.training_runs import train_tokenizer
from generation.export.verify import EVALUATION_TEXT

VOCABULARY = 400
CONTEXT = 256


def write_checkpoint(folder: Path, **changes: object) -> Path:
    """Write a random checkpoint with its tokenizer; `changes` override fields of its configuration."""
    settings: dict[str, object] = {
        "vocab_size": VOCABULARY,
        "n_positions": CONTEXT,
        # The width of the largest block of int4 weights.
        "n_embd": 128,
        "n_layer": 2,
        "n_head": 4,
        "bos_token_id": VOCABULARY - 1,
        "eos_token_id": VOCABULARY - 1,
        # Ten times GPT-2's value, so that different texts lead to different tokens.
        "initializer_range": 0.2,
    }
    torch.manual_seed(7)
    model = GPT2LMHeadModel(GPT2Config(**(settings | changes)))
    with torch.no_grad():
        # New models have biases of 0 and norms of 1, which would hide errors.
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    tokenizer = train_tokenizer([EVALUATION_TEXT.read_text(encoding="utf-8")], VOCABULARY)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
