"""What turns tokens into text, one at a time."""

from typing import Protocol


class Detokenizer(Protocol):
    """Takes the tokens of one text in order."""

    def push(self, token: int) -> str:
        """Return the text that `token` completes; an unfinished character waits for the next token."""

    def flush(self) -> str:
        """Return what is left at the end: U+FFFD for an unfinished character, else nothing."""
