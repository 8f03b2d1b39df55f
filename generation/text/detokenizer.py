"""The interface of a detokenizer, which turns tokens into text one at a time."""

from typing import Protocol


class Detokenizer(Protocol):
    """Turns the tokens of one sequence into text, in order."""

    def push(self, token: int) -> str:
        """Return the text that `token` completes; hold an incomplete character for the next token."""

    def flush(self) -> str:
        """Return the rest at the end: U+FFFD for an incomplete character, or else an empty text."""
