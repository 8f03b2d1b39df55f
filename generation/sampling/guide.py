"""Walks one sequence through a grammar. `generation.sampling.grammar` compiles the grammar."""

from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from generation.errors import InvalidRequestError


class Vocabulary(Protocol):
    """What a guide needs of a tokenizer."""

    vocabulary: int
    ends_of_text: tuple[int, ...]

    def __hash__(self) -> int:
        """Return the hash of this object: what is made of it once is kept."""

    def has(self, token: int) -> bool:
        """Return whether an id is a token."""

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for a special token."""


@lru_cache(maxsize=1)
def without_text(tokenizer: Vocabulary) -> list[int]:
    """Return the ids that no text is made of: special tokens, and those that are no tokens."""
    ids = range(tokenizer.vocabulary)
    return [token for token in ids if not tokenizer.has(token) or not tokenizer.token_bytes(token)]


class GrammarGuide:
    """Constrains one sequence to a grammar; `param` is the field that asked for it."""

    def __init__(self, matcher: Any, tokenizer: Vocabulary, param: str) -> None:
        self._matcher = matcher
        self._vocabulary = tokenizer.vocabulary
        self._ends_of_text = list(tokenizer.ends_of_text)
        # To the library the name of a special token is text like any other.
        self._without_text = without_text(tokenizer)
        self._param = param

    def allowed(self) -> NDArray[np.bool_]:
        """Return the tokens that may come next, [vocabulary]; only end-of-text once nothing can follow.

        Raises:
            InvalidRequestError: no token may come next, or the automaton has grown too large.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        mask = np.unpackbits(bits, count=self._vocabulary, bitorder="little").view(np.bool_)
        ended = mask[self._ends_of_text[0]] and self._matcher.is_accepting()
        mask[self._without_text] = False
        mask[self._ends_of_text] = ended
        if not mask.any():
            raise InvalidRequestError(f"{self._param}: no token can come next", param=self._param)
        return mask

    def advance(self, token: int) -> None:
        """Take the chosen token.

        Raises:
            InvalidRequestError: the automaton has grown too large.
        """
        # The library knows one end-of-text token.
        self._matcher.consume_token(self._ends_of_text[0] if token in self._ends_of_text else token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise InvalidRequestError(f"{self._param}: {explain(self._matcher.get_error())}", param=self._param)


def explain(error: str) -> str:
    """Return the part of an error message of llguidance that says what is wrong."""
    if error.startswith("NoExtension"):
        return "no text matches it"
    lines = [line.strip() for line in error.splitlines()]
    found = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    reason = (found or lines)[0].rpartition("(in regex): ")[2].partition(". Enable ")[0][:200]
    too_large = ("too many", "too big", "too large", "too complex", "limit")
    return f"too large: {reason}" if any(word in reason for word in too_large) else reason
