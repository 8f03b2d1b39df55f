"""The output of a batch: a file to which lines are appended, and from which an interrupted run resumes.

A line survives any end of the process once `write` has returned. Only the last line can then be incomplete; the next
run removes it and answers its request again.
"""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from generation.cli.batch.answer import ID, Written, read_written
from generation.cli.batch.index import Index
from generation.errors import InvalidRequestError

START = f'{{"id":"{ID}'.encode()
CHUNK = 1 << 20


class Output:
    """Appends lines to a file, or to standard output."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._file = file

    def write(self, text: bytes) -> None:
        """Append one line, and pass it to the operating system.

        Raises:
            OSError: the line cannot be written, for instance because the disk is full.
        """
        self._file.write(text)
        self._file.flush()

    def sync(self) -> None:
        """Flush the file to disk, so that its lines survive a crash of the machine; ignore what is not a file."""
        with contextlib.suppress(OSError):
            os.fsync(self._file.fileno())


@contextmanager
def open_output(name: str, index: Index, *, ordered: bool, retry_failed: bool) -> Iterator[Output]:
    """Open the output, and mark in `index` the lines that it already answers; ``-`` is standard output.

    Args:
        name: path of the file.
        index: the lines of the input.
        ordered: whether answers must be in the order of the input.
        retry_failed: whether to remove failed lines, so that they are sent again.

    Raises:
        InvalidRequestError: the file cannot be written, another process writes it, or it belongs to another input.
    """
    if name == "-":
        yield Output(sys.stdout.buffer, "standard output")
        return
    try:
        file = _open(Path(name), index, ordered=ordered, retry_failed=retry_failed)
    except OSError as error:
        raise InvalidRequestError(f"{name} cannot be written: {error.strerror or error}") from None
    try:
        yield Output(file, name)
    finally:
        # `write` has already raised the error of a full disk.
        with contextlib.suppress(OSError):
            file.close()


def _open(path: Path, index: Index, *, ordered: bool, retry_failed: bool) -> BinaryIO:
    if path.suffix == ".gz":
        raise InvalidRequestError(f"{path}: the output is not compressed; choose a name without .gz")
    if path.exists() and not path.is_file():  # a pipe or a device: there are no earlier answers to read
        return path.open("wb")
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(_locked(path))
        _trim(file, path)
        if _resume(file, path, index, ordered=ordered, retry_failed=retry_failed):
            return _without_failed(file, path)
        opened.pop_all()
        return file


def _locked(path: Path) -> BinaryIO:
    file = path.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # any end of the process releases the lock
    except BlockingIOError:
        file.close()
        raise InvalidRequestError(f"{path} is being written by another run") from None
    return file


def _trim(file: BinaryIO, path: Path) -> None:
    """Remove an incomplete line from the end.

    Raises:
        InvalidRequestError: the incomplete line is not the start of a line of this command.
    """
    start = file.seek(0, os.SEEK_END)
    tail = b""
    while start and b"\n" not in tail:
        size = min(CHUNK, start)
        start = file.seek(start - size)
        tail = file.read(size) + tail
    kept = tail.rfind(b"\n") + 1
    rest = tail[kept:]
    if not rest.startswith(START) and not START.startswith(rest):
        raise _foreign(path, "its last line")
    if rest:
        file.truncate(start + kept)


def _resume(file: BinaryIO, path: Path, index: Index, *, ordered: bool, retry_failed: bool) -> int:
    """Mark the answered lines in `index`; with `retry_failed`, return the number of failed lines and skip them."""
    failed = 0
    file.seek(0)
    for number, text in enumerate(file, 1):
        written = read_written(text)
        if written is None:
            raise _foreign(path, f"line {number}")
        if retry_failed and written.failed:
            failed += 1
        elif _mark(written, path, index) != number and ordered:
            raise InvalidRequestError(f"{path} is in another order than the input: go on without --ordered")
    return failed


def _mark(written: Written, path: Path, index: Index) -> int:
    """Mark a line as answered; return its place in the input.

    Raises:
        InvalidRequestError: the line is not in the input, has changed there, or is already marked.
    """
    entry = index.find(written.key)
    shown = "a line without a custom_id" if written.custom_id is None else f"custom_id {written.custom_id!r}"
    if entry is None:
        raise InvalidRequestError(f"{path} answers {shown}, which the input does not have: choose another output")
    if entry.fingerprint != written.fingerprint:
        raise InvalidRequestError(f"{path} answers {shown}, whose line has changed since: choose another output")
    if entry.done:
        raise InvalidRequestError(f"{path} answers {shown} twice: choose another output")
    index.mark(written.key, failed=written.failed)
    return entry.place


def _without_failed(file: BinaryIO, path: Path) -> BinaryIO:
    """Replace the output atomically by one without the failed lines; return the new file."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as kept:
        file.seek(0)
        for text in file:
            written = read_written(text)
            if written is not None and not written.failed:
                kept.write(text)
        kept.flush()
        os.fsync(kept.fileno())
    partial.replace(path)
    return _locked(path)


def _foreign(path: Path, place: str) -> InvalidRequestError:
    return InvalidRequestError(f"{path} exists, and {place} is not of this command: choose another output")
