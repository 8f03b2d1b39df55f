"""Small random checkpoints: as much of GPT-2 as the real ones have, in a few hundred kilobytes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from generation.export.checkpoint import Checkpoint, load
from generation.export.hub import Folder
from generation.export.reference import export_reference
from generation.export.train import train_tokenizer
from generation.export.verify import EVALUATION_TEXT

VOCABULARY = 400
CONTEXT = 256


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Tiny matrices lose more by being shared between threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_checkpoint(folder: Path, **changes: object) -> Path:
    """Write a random checkpoint with its tokenizer; `changes` go into its configuration."""
    settings: dict[str, object] = {
        "vocab_size": VOCABULARY,
        "n_positions": CONTEXT,
        # As wide as a block of int4 weights at its largest.
        "n_embd": 128,
        "n_layer": 2,
        "n_head": 4,
        "bos_token_id": VOCABULARY - 1,
        "eos_token_id": VOCABULARY - 1,
        # Ten times GPT-2's own, so that the choices are not all alike.
        "initializer_range": 0.2,
    }
    torch.manual_seed(7)
    model = GPT2LMHeadModel(GPT2Config(**(settings | changes)))
    with torch.no_grad():
        # Fresh models have biases of nought and norms of one, which hide mistakes.
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    tokenizer = train_tokenizer([EVALUATION_TEXT.read_text(encoding="utf-8")], VOCABULARY)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder not to be written in."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "small")


@pytest.fixture(scope="session")
def checkpoint(checkpoint_folder: Path) -> Checkpoint:
    """The checkpoint in `checkpoint_folder`, loaded."""
    return load(Folder(checkpoint_folder, "small", None))


@pytest.fixture(scope="session")
def reference(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference export of `checkpoint`."""
    return export_reference(checkpoint.model, tmp_path_factory.mktemp("reference"))
