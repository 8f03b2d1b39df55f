"""The parts of which the kinds of checkpoints are made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.support.checkpoints import VOCABULARY, write_checkpoint

END = VOCABULARY - 1
# Two layers of width 64 are enough to show a difference, and quick to compute.
SMALL: dict[str, Any] = {"n_embd": 64, "n_head": 4, "n_positions": 128}

Kind = Callable[[Path], None]


def put(folder: Path, name: str, **values: Any) -> None:
    """Set values in a JSON file; the value ``...`` removes an entry."""
    path = folder / name
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({key: value for key, value in (found | values).items() if value is not ...}))


def configured(**changes: Any) -> Kind:
    """Return a kind that differs only in its configuration."""
    return lambda folder: write(folder, **changes)


def write(folder: Path, **changes: Any) -> None:
    """Write a small checkpoint with changes of its configuration."""
    write_checkpoint(folder, **(SMALL | changes))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Replace the tensors of a checkpoint by those that `change` returns."""
    changed = change(load_file(folder / "model.safetensors"))
    save_file({name: tensor.contiguous() for name, tensor in changed.items()}, folder / "model.safetensors")
