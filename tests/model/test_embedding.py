import mmap
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from generation.export.defaults import PRECISIONS
from generation.model.artifact import ArtifactError, read_config
from generation.model.embedding import _POPULATE_WRITE, EmbeddingTable


def _fetches() -> bool:
    try:
        mmap.mmap(-1, mmap.PAGESIZE).madvise(_POPULATE_WRITE)
    except (AttributeError, OSError):
        return False
    return True


fetching = pytest.mark.skipif(not _fetches(), reason="not a Linux of 5.14 or later")
PAGE_KIB = mmap.PAGESIZE // 1024
# Rows do not end where pages do.
ROW, ROWS = 96, 40 * mmap.PAGESIZE // 96
WEIGHTS = np.random.default_rng(4).integers(-127, 128, (ROWS, ROW)).astype(np.int8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of weights that only this test has mapped."""
    (tmp_path / "weights").write_bytes(WEIGHTS.tobytes())
    return tmp_path / "weights"


@pytest.fixture
def table(path: Path, artifacts: dict[str, Path]) -> EmbeddingTable:
    config = replace(read_config(artifacts["int8"]), vocabulary=ROWS, width=ROW)
    return EmbeddingTable(path, config)


def _resident_kib(path: Path) -> int:
    """Return how much of a file this process has mapped and in memory."""
    maps = Path("/proc/self/smaps").read_text(encoding="utf-8")
    return sum(map(int, re.findall(rf" {re.escape(str(path))}\n(?:.*\n){{0,4}}?Rss: +(\d+) kB", maps)))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_is_the_one_of_the_graph(artifacts: dict[str, Path], precision: str) -> None:
    folder = artifacts[precision]
    graph = onnx.load(folder / "model.onnx").graph
    (tensor,) = (one for one in graph.initializer if one.name == "transformer.wte.weight")
    table = EmbeddingTable(folder / "model.onnx.data", read_config(folder))
    np.testing.assert_array_equal(table.data, numpy_helper.to_array(tensor))


@fetching
def test_only_the_pages_of_a_row_are_brought_into_memory(table: EmbeddingTable, path: Path) -> None:
    across = mmap.PAGESIZE // ROW  # begins in the first page and ends in the second
    table.fetch([0, across])
    np.testing.assert_array_equal(table.data[[0, across]], WEIGHTS[[0, across]])
    assert _resident_kib(path) == 2 * PAGE_KIB


@fetching
def test_when_there_are_many_all_are_let_go(table: EmbeddingTable, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.model.embedding.KEPT", 4)
    inside = [(page * mmap.PAGESIZE + ROW) // ROW for page in range(9)]
    for n, token in enumerate(inside):
        table.fetch([token])
        np.testing.assert_array_equal(table.data[token], WEIGHTS[token])
        assert _resident_kib(path) == (n % 4 + 1) * PAGE_KIB


def test_where_the_system_cannot_fetch_rows_are_read_all_the_same(
    table: EmbeddingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generation.model.embedding._POPULATE_WRITE", 9999)
    for token in (3, ROWS - 1):
        table.fetch([token])
        np.testing.assert_array_equal(table.data[token], WEIGHTS[token])


def test_a_file_that_is_too_short_is_refused(artifacts: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(100))
    with pytest.raises(ArtifactError, match=r"does not begin with the embedding table .* export the model again"):
        EmbeddingTable(tmp_path / "weights", read_config(artifacts["int8"]))


def test_a_precision_that_nobody_knows_is_refused(artifacts: dict[str, Path]) -> None:
    config = replace(read_config(artifacts["int8"]), precision="int2")
    with pytest.raises(ArtifactError, match="precision 'int2' is not one of fp32, int8, int8-blocks, int4"):
        EmbeddingTable(artifacts["int8"] / "model.onnx.data", config)
