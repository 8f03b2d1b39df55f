"""Fixtures that several rooms share. What is slow to import (torch, transformers, openai) is imported by a fixture."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from benchmarks.server import Served, serve
from generation.export.defaults import PRECISIONS
from tests.support.precisions import HERE

if TYPE_CHECKING:
    import openai


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of precisions that this processor cannot serve."""
    missing = set(PRECISIONS) - set(HERE)
    for item in items:
        call = getattr(item, "callspec", None)
        params = () if call is None else call.params.values()
        if any(isinstance(one, str) and one.rpartition(" ")[2] in missing for one in params):
            item.add_marker(pytest.mark.skip(reason="this processor lacks VNNI, which the precision needs"))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """The bundled model under the embedded host, for every test that needs no other."""
    with serve() as running:
        yield running


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random checkpoint; not to be written in."""
    from tests.support.checkpoints import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "small")


@pytest.fixture(scope="session")
def artifacts(checkpoint_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The artifacts of that checkpoint, by precision."""
    from generation.export import moments
    from generation.export.pipeline import export

    folders: dict[str, Path] = {}
    for precision in HERE:
        folders[precision] = tmp_path_factory.mktemp("artifacts") / precision
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(moments, "TOKENS", 32)  # random weights write nothing worth more time
            export(str(checkpoint_folder), folders[precision], precision, allow_loss=True)
    return folders


@pytest.fixture(scope="session")
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=60) as one:
        yield one


@pytest.fixture(scope="session")
def api(served: Served) -> "Iterator[openai.OpenAI]":
    """The unmodified client; it does not retry, so that every failure shows."""
    import openai

    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="unused", max_retries=0) as one:
        yield one
