"""Write a checkpoint of DistilGPT2's exact size with random weights, because speed does not depend on their values.

    python -m benchmarks.checkpoint FOLDER

The tokenizer has as many ids as the real one, and is trained on made-up words.
"""

import random
import shutil
import sys
from pathlib import Path

# DistilGPT2's own configuration.
LAYERS, HEADS, WIDTH, CONTEXT, VOCABULARY = 6, 12, 768, 1024, 50257


def write(folder: Path) -> None:
    """Write the checkpoint atomically."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

    from generation.export.training import END_OF_TEXT
    from generation.export.training_runs import train_tokenizer

    tokenizer = train_tokenizer([_words(200_000)], VOCABULARY)
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise RuntimeError(f"the made-up words gave {tokenizer.get_vocab_size()} tokens")
    torch.manual_seed(0)
    shape = GPT2Config(n_layer=LAYERS, n_head=HEADS, n_embd=WIDTH, n_positions=CONTEXT, vocab_size=VOCABULARY)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    GPT2TokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT).save_pretrained(partial)
    GPT2LMHeadModel(shape).save_pretrained(partial)
    partial.rename(folder)


def _words(count: int) -> str:
    """Return enough different made-up words for a full vocabulary."""
    choose = random.Random(0)  # noqa: S311 - not for secrets
    syllables = [first + vowel + last for first in "bcdfghjklmnpqrstvwz" for vowel in "aeiou" for last in "lmnrst "]
    return " ".join("".join(choose.choices(syllables, k=choose.randint(2, 5))) for _ in range(count))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
