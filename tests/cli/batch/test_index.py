"""Which lines there are: duplicates, and what is answered."""

from pathlib import Path

import pytest

from generation.cli.batch.index import Index
from generation.cli.batch.lines import open_source, parse
from generation.errors import InvalidRequestError
from tests.support.batch import request, write


def _fill(index: Index, path: Path) -> None:
    with open_source(str(path)) as source:
        index.fill(source)


def test_lines_are_found_by_key_with_number_and_place(tmp_path: Path) -> None:
    path = write(tmp_path / "in", [request("a"), b"", request("b"), b"bad"])
    with Index() as index:
        _fill(index, path)
        assert index.lines == 3
        entry = index.find(parse(3, request("b")).key)
        assert entry == (3, 2, parse(3, request("b")).fingerprint, False)
        assert index.find(parse(4, b"bad").key) is not None
        assert index.find(parse(1, request("c")).key) is None


def test_an_id_that_is_used_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "in", [request("a"), request("b"), b'{"custom_id": "a"}'])
    with Index() as index, pytest.raises(InvalidRequestError, match=r"'a' is on the lines 1 and 3$"):
        _fill(index, path)


def test_of_many_duplicates_only_some_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "in", [request("a")] * 9)
    with Index() as index, pytest.raises(InvalidRequestError, match=r"lines 1 and 4, and 5 more$"):
        _fill(index, path)


def test_bad_lines_without_an_id_are_no_duplicates(tmp_path: Path) -> None:
    path = write(tmp_path / "in", [b"bad", b"bad"])
    with Index() as index:
        _fill(index, path)
        assert index.lines == 2


def test_what_is_marked_is_done(tmp_path: Path) -> None:
    path = write(tmp_path / "in", [request("a"), request("b")])
    with Index() as index:
        _fill(index, path)
        index.mark(parse(1, request("a")).key, failed=False)
        index.mark(parse(2, request("b")).key, failed=True)
        assert (index.done, index.failed) == (2, 1)
        entry = index.find(parse(1, request("a")).key)
        assert entry is not None
        assert entry.done
