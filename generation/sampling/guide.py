"""Walks one sequence through a grammar. `generation.sampling.grammar` compiles the grammar."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from generation.errors import InvalidRequestError


class Vocabulary(Protocol):
    """What a guide needs of a tokenizer."""

    end_of_text: int
    vocabulary: int


class GrammarGuide:
    """Constrains one sequence to a grammar; `param` is the field that asked for it."""

    def __init__(self, matcher: Any, tokenizer: Vocabulary, param: str) -> None:
        self._matcher = matcher
        self._vocabulary = tokenizer.vocabulary
        self._end_of_text = tokenizer.end_of_text
        self._param = param

    def allowed(self) -> NDArray[np.bool_]:
        """Return the tokens that may come next, [vocabulary]; only end-of-text once nothing can follow.

        Raises:
            InvalidRequestError: no token may come next, or the automaton has grown too large.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        mask = np.unpackbits(bits, count=self._vocabulary, bitorder="little").view(np.bool_)
        # To the library the name of the special token is text like any other.
        mask[self._end_of_text] &= self._matcher.is_accepting()
        if not mask.any():
            raise InvalidRequestError(f"{self._param}: no token can come next", param=self._param)
        return mask

    def advance(self, token: int) -> None:
        """Take the chosen token.

        Raises:
            InvalidRequestError: the automaton has grown too large.
        """
        self._matcher.consume_token(token)
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
