"""The output after a run that was cut short, and outputs that are not to be written to."""

import fcntl
from pathlib import Path

import pytest

from generation.cli.batch.answer import Answer
from generation.cli.batch.index import Index
from generation.cli.batch.lines import open_source, parse
from generation.cli.batch.output import open_output
from generation.errors import InvalidRequestError
from tests.support.batch import request, write

TEXTS = [request("a"), request("b"), b"bad", request("c")]


def _answer(number: int, *, failed: bool = False) -> bytes:
    """Return the line of the output for a line of `TEXTS`, without its end."""
    line = parse(number, TEXTS[number - 1])
    answer = Answer.failure(line.error) if line.error else Answer.response(400 if failed else 200, None, b"{}")
    return answer.render(line).removesuffix(b"\n")


@pytest.fixture
def index(tmp_path: Path) -> Index:
    with open_source(str(write(tmp_path / "in", TEXTS))) as source:
        index = Index()
        index.fill(source)
        return index


def _open(path: Path, index: Index, *, ordered: bool = False, retry_failed: bool = False) -> None:
    with open_output(str(path), index, ordered=ordered, retry_failed=retry_failed) as output:
        output.write(b"new\n")
        output.sync()


def _done(index: Index) -> list[bool]:
    found = [index.find(parse(number, text).key) for number, text in enumerate(TEXTS, 1)]
    return [entry is not None and entry.done for entry in found]


def test_a_new_file_is_made_and_appended_to(tmp_path: Path, index: Index) -> None:
    _open(tmp_path / "out", index)
    assert (tmp_path / "out").read_bytes() == b"new\n"
    assert index.done == 0


def test_what_is_answered_is_marked(tmp_path: Path, index: Index) -> None:
    path = write(tmp_path / "out", [_answer(4), _answer(3), _answer(1, failed=True)])
    _open(path, index)
    assert _done(index) == [True, False, True, True]
    assert (index.done, index.failed) == (3, 2)


@pytest.mark.parametrize("kept", range(1, 40, 3))
def test_an_incomplete_line_is_removed_wherever_it_was_cut(tmp_path: Path, index: Index, kept: int) -> None:
    whole = _answer(1) + b"\n"
    path = tmp_path / "out"
    path.write_bytes(whole + _answer(2)[:kept])
    _open(path, index)
    assert path.read_bytes() == whole + b"new\n"
    assert _done(index) == [True, False, False, False]


def test_a_line_without_its_end_is_incomplete(tmp_path: Path, index: Index) -> None:
    path = tmp_path / "out"
    path.write_bytes(_answer(1))
    _open(path, index)
    assert path.read_bytes() == b"new\n"


def test_a_long_incomplete_line_is_removed(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.cli.batch.output.CHUNK", 7)
    test_an_incomplete_line_is_removed_wherever_it_was_cut(tmp_path, index, 39)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"notes", "its last line is not of this command"),
        (b"notes\n", "line 1 is not of this command"),
        (_answer(1) + b"\nnotes\n", "line 2 is not of this command"),
        (_answer(1).replace(b'"a"', b'"z"') + b"\n", "answers custom_id 'z', which the input does not have"),
        ((_answer(1) + b"\n") * 2, "answers custom_id 'a' twice"),
        (_answer(1).replace(b"req_", b"req_0") + b"\n", "'a', whose line has changed since"),
        (_answer(3).replace(b'"line":3', b'"line":9') + b"\n", "answers a line without a custom_id, which"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path, index: Index, content: bytes, words: str) -> None:
    path = tmp_path / "out"
    path.write_bytes(content)
    with pytest.raises(InvalidRequestError, match=words):
        _open(path, index)
    assert path.read_bytes() == content


def test_order_goes_on_only_where_it_was_kept(tmp_path: Path, index: Index) -> None:
    _open(write(tmp_path / "good", [_answer(1), _answer(2)]), index, ordered=True)
    path = write(tmp_path / "bad", [_answer(3)])
    with pytest.raises(InvalidRequestError, match="go on without --ordered"):
        _open(path, index, ordered=True)


def test_lines_that_failed_are_removed_to_be_tried_again(tmp_path: Path, index: Index) -> None:
    path = write(tmp_path / "out", [_answer(1), _answer(2, failed=True), _answer(3), _answer(4)])
    _open(path, index, retry_failed=True)
    assert path.read_bytes() == _answer(1) + b"\n" + _answer(4) + b"\nnew\n"
    assert _done(index) == [True, False, False, True]
    assert index.failed == 0
    assert sorted(one.name for one in tmp_path.iterdir()) == ["in", "out"]


def test_two_runs_cannot_write_one_file(tmp_path: Path, index: Index) -> None:
    path = tmp_path / "out"
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InvalidRequestError, match="being written by another run"):
            _open(path, index)


def test_the_lock_stays_on_the_file_that_replaces_the_output(tmp_path: Path, index: Index) -> None:
    path = write(tmp_path / "out", [_answer(2, failed=True)])
    with (
        open_output(str(path), index, ordered=False, retry_failed=True),
        pytest.raises(InvalidRequestError, match="being written"),
        open_output(str(path), index, ordered=False, retry_failed=False),
    ):
        pass


@pytest.mark.parametrize(("name", "words"), [("out.gz", "without .gz"), ("no/out", "No such file")])
def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path, index: Index, name: str, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        _open(tmp_path / name, index)


def test_a_device_is_written_to_and_not_read(index: Index) -> None:
    _open(Path("/dev/null"), index)
    assert index.done == 0


def test_a_dash_is_standard_output(index: Index, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with open_output("-", index, ordered=False, retry_failed=False) as output:
        output.write(b"new\n")
        output.sync()
    assert capsysbinary.readouterr().out == b"new\n"
