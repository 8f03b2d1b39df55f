"""The small random checkpoint, loaded, and its reference export."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from generation.export.checkpoint import Checkpoint, load
from generation.export.hub import Folder
from generation.export.reference import export_reference


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Tiny matrices lose more by being shared between threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoint(checkpoint_folder: Path) -> Checkpoint:
    """The checkpoint in `checkpoint_folder`, loaded."""
    return load(Folder(checkpoint_folder, "small", None))


@pytest.fixture(scope="session")
def reference(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference export of `checkpoint`."""
    return export_reference(checkpoint.model, tmp_path_factory.mktemp("reference"))
