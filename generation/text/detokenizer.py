"""Token ids to text, one token at a time."""

import codecs
from collections.abc import Iterable
from typing import Protocol


class ByteSource(Protocol):
    """Whatever knows the bytes of a token."""

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token stands for."""


class Detokenizer:
    """Turns tokens into text one at a time; bytes of an unfinished character wait for the next token."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """Return the text that `token` completes."""
        return self._decoder.decode(self._source.token_bytes(token))

    def feed(self, tokens: Iterable[int]) -> str:
        """Return the text that several tokens complete."""
        return self._decoder.decode(b"".join(map(self._source.token_bytes, tokens)))

    def flush(self) -> str:
        """Return what is left at the end: U+FFFD for an unfinished character, else nothing."""
        return self._decoder.decode(b"", final=True)
