"""Read the input of a batch line by line, from a file of any length, and validate each line independently.

The format is that of OpenAI's batch API: one JSON object per line, ``{"custom_id", "method", "url", "body"}``.
"""

import gzip
import os
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, Literal, cast

from pydantic import Field, ValidationError
from pydantic_core import from_json

from generation.api.bodies import Body, explain
from generation.errors import InvalidBodyError, InvalidRequestError

MEBIBYTE = 1 << 20
LONGEST_LINE = 65 * MEBIBYTE  # more than any server accepts: MAX_BODY_KB is at most 64 MiB
GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"


class Envelope(Body):
    """The fields of a line."""

    custom_id: str = Field(min_length=1, max_length=512)
    method: Literal["POST"]
    url: str = Field(pattern=r"^/[A-Za-z0-9_.~/-]*$", max_length=256)
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the input.

    Attributes:
        number: number in the file, from 1; blank lines count.
        fingerprint: hash of the line's text, 16 hexadecimal digits.
        custom_id: None if the line has none that can be read.
        url: path of the operation, as given in the line.
        body: body of the request.
        error: why the line cannot be sent, or None.
    """

    number: int
    fingerprint: str
    custom_id: str | None = None
    url: str = ""
    body: dict[str, Any] | None = None
    error: InvalidRequestError | None = None

    @property
    def key(self) -> bytes:
        """The key that identifies the line: of its `custom_id`, or of its number if it has none."""
        return key(self.custom_id, self.number)


def key(custom_id: str | None, number: int) -> bytes:
    """Return 16 bytes that identify a line within a file."""
    text = f"number {number}" if custom_id is None else f"id {custom_id}"
    return blake2b(text.encode(), digest_size=16).digest()


def parse(number: int, text: bytes) -> Line:
    """Parse one line; an invalid line gets an `error`."""
    fingerprint = blake2b(text, digest_size=8).hexdigest()
    if len(text) > LONGEST_LINE:
        error = InvalidBodyError(f"the line is longer than {LONGEST_LINE >> 20} MiB")
        return Line(number, fingerprint, error=error)
    try:
        found = Envelope.model_validate_json(text)
    except ValidationError as error:
        return Line(number, fingerprint, _custom_id(text), error=_explain(error))
    wrong = None
    if ".." in found.url.split("/"):
        wrong = InvalidRequestError(f"url: must not contain .., got {found.url!r}", param="url")
    elif found.body.get("stream") is True:
        wrong = InvalidRequestError("stream: a line is answered whole; leave it out or set it to false", param="stream")
    return Line(number, fingerprint, found.custom_id, found.url, found.body, wrong)


def _explain(error: ValidationError) -> InvalidRequestError:
    found = explain(Envelope, error)
    if isinstance(found, InvalidBodyError):
        return InvalidBodyError(found.message.replace("the body", "the line", 1))
    return found


def _custom_id(text: bytes) -> str | None:
    """Return the id of an invalid line, if it can be read."""
    try:
        found = from_json(text)
    except ValueError:
        return None
    given = found.get("custom_id") if isinstance(found, dict) else None
    return given if isinstance(given, str) and 0 < len(given) <= 512 else None  # noqa: PLR2004 - as in `Envelope`


class Source:
    """The input, which can be read from the start several times."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self.name = name
        self._file = file
        file.seek(0)
        self._zipped = file.read(2) == GZIP

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the number and the text of every line that is not blank, in bounded memory.

        Of a line that is too long, yield only the first `LONGEST_LINE` + 1 bytes.

        Raises:
            InvalidRequestError: the input cannot be read to its end.
        """
        self._file.seek(0)
        file = cast("IO[bytes]", gzip.GzipFile(fileobj=self._file)) if self._zipped else self._file
        number = 0
        try:
            while text := file.readline(LONGEST_LINE + 1):
                number += 1
                rest = text
                while len(rest) > LONGEST_LINE and not rest.endswith(b"\n"):
                    rest = file.readline(LONGEST_LINE + 1)
                if number == 1:
                    text = text.removeprefix(BOM)
                if text := text.strip():
                    yield number, text
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidRequestError(f"{self.name} cannot be read after line {number}: {error}") from None


@contextmanager
def open_source(name: str) -> Iterator[Source]:
    """Open the input; ``-`` is standard input.

    An input that can be read only once, such as a pipe, is copied to a temporary file, because it is read twice.

    Raises:
        InvalidRequestError: the input cannot be opened.
    """
    shown = "standard input" if name == "-" else name
    try:
        # Standard input stays open.
        given = sys.stdin.buffer if name == "-" else Path(name).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InvalidRequestError(f"{shown} cannot be read: {error.strerror}") from None
    try:
        if name != "-" and _is_regular(given):
            yield Source(shown, given)
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(given, copy)
            yield Source(shown, copy)
    finally:
        if name != "-":
            given.close()


def _is_regular(file: IO[bytes]) -> bool:
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
