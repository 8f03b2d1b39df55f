"""Reading an input: what a line may hold, and files of every kind."""

import gzip
import io
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from generation.cli.batch import lines
from generation.cli.batch.lines import open_source, parse
from generation.errors import InvalidRequestError
from tests.support.batch import request


def _read(name: str | Path) -> list[tuple[int, bytes]]:
    with open_source(str(name)) as source:
        return list(source.lines())


def test_a_line_has_an_id_a_path_and_a_body() -> None:
    line = parse(3, request("a", n=2))
    assert (line.number, line.custom_id, line.url, line.error) == (3, "a", "/v1/completions", None)
    assert line.body == {"prompt": "Once", "max_tokens": 2, "temperature": 0, "n": 2}


@pytest.mark.parametrize(
    ("text", "custom_id", "words"),
    [
        (b"{", None, "the line is not valid JSON"),
        (b"[]", None, "the line must be a JSON object"),
        (b"\xff", None, "the line is not valid JSON"),
        (b'{"custom_id": "a"}', "a", "method is required"),
        (request("a").replace(b"POST", b"GET"), "a", "method: "),
        (request(""), None, "custom_id: "),
        (request("x" * 513), None, "custom_id: "),
        (request("a").replace(b'"a"', b"7"), None, "custom_id: "),
        (request("a", "https://elsewhere/v1/completions"), "a", "url: "),
        (request("a", "/v1/../keys"), "a", "url: must not contain .."),
        (request("a", "/v1/completions?code=1"), "a", "url: "),
        (request("a")[:-1] + b', "priority": 1}', "a", "unknown field 'priority'"),
        (request("a").replace(b'"body": {', b'"body": [{')[:-1] + b"]}", "a", "body: "),
        (request("a", stream=True), "a", "stream: a line is answered whole"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_line_says_what_is_wrong_and_keeps_its_id(text: bytes, custom_id: str | None, words: str) -> None:
    line = parse(1, text)
    assert line.custom_id == custom_id
    assert line.error is not None
    assert words in line.error.message


def test_the_key_is_the_id_or_else_the_number() -> None:
    assert parse(1, request("a")).key == parse(9, request("a", n=2)).key
    assert parse(1, b"bad").key != parse(2, b"bad").key
    assert parse(1, request("number 2")).key != parse(2, b"bad").key


def test_the_fingerprint_is_that_of_the_text() -> None:
    assert parse(1, request("a")).fingerprint == parse(2, request("a")).fingerprint
    assert parse(1, request("a")).fingerprint != parse(1, request("a", n=2)).fingerprint


def test_blank_lines_count_and_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"\xef\xbb\xbfa\r\n\n  \nb\n\nc")
    assert _read(path) == [(1, b"a"), (4, b"b"), (6, b"c")]


def test_gzip_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(b"a\n") + gzip.compress(b"b\n"))
    assert _read(path) == [(1, b"a"), (2, b"b")]


def test_a_source_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "in.gz"
    path.write_bytes(gzip.compress(b"a\nb\n"))
    with open_source(str(path)) as source:
        assert next(source.lines()) == (1, b"a")
        assert list(source.lines()) == list(source.lines()) == [(1, b"a"), (2, b"b")]


@pytest.mark.parametrize("cut", [20, 3000])
def test_a_damaged_file_is_an_error_that_says_where(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "in.gz"
    text = b"".join(os.urandom(8).hex().encode() + b"\n" for _ in range(1000))
    path.write_bytes(gzip.compress(text)[:cut])
    with pytest.raises(InvalidRequestError, match=r"in\.gz cannot be read after line \d+"):
        _read(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="No such file"):
        _read(tmp_path / "none")
    with pytest.raises(InvalidRequestError, match="directory"):
        _read(tmp_path)


def test_what_can_be_read_only_once_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"a\nb\n",))
    writer.start()
    with open_source(str(pipe)) as source:
        assert list(source.lines()) == list(source.lines()) == [(1, b"a"), (2, b"b")]
    writer.join()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(gzip.compress(b"c\n"))))
    assert _read("-") == [(1, b"c")]


def test_a_line_that_is_too_long_is_cut_and_the_next_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 10)
    path = tmp_path / "in"
    path.write_bytes(b"x" * 35 + b"\n" + b"y" * 9 + b"\n" + b"z" * 11)
    assert [(number, len(text)) for number, text in _read(path)] == [(1, 11), (2, 9), (3, 11)]
    error = parse(1, b"x" * 11).error
    assert error is not None
    assert "longer than" in error.message
