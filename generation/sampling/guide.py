"""Constrain one sequence to a grammar that `generation.sampling.grammar` has compiled."""

from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from generation.errors import InvalidRequestError


class Vocabulary(Protocol):
    """The part of a tokenizer that a guide uses.

    Attributes:
        vocabulary: number of token ids.
        ends_of_text: tokens that end a text.
    """

    vocabulary: int
    ends_of_text: tuple[int, ...]

    def __hash__(self) -> int:
        """Return a hash, because results are cached by tokenizer."""

    def has(self, token: int) -> bool:
        """Return whether an id is a token."""

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token; empty for a special token."""


@lru_cache(maxsize=1)
def without_text(tokenizer: Vocabulary) -> list[int]:
    """Return the ids that text cannot contain: special tokens, and ids that are not tokens."""
    ids = range(tokenizer.vocabulary)
    return [token for token in ids if not tokenizer.has(token) or not tokenizer.token_bytes(token)]


class GrammarGuide:
    """Constrains one sequence to a grammar.

    Args:
        matcher: an `llguidance.LLMatcher` at the start of the grammar, for this sequence alone.
        tokenizer: the model's tokenizer.
        param: name of the request field that holds the grammar, for error messages.
    """

    def __init__(self, matcher: Any, tokenizer: Vocabulary, param: str) -> None:
        self._matcher = matcher
        self._vocabulary = tokenizer.vocabulary
        self._ends_of_text = list(tokenizer.ends_of_text)
        # llguidance treats the name of a special token as ordinary text.
        self._without_text = without_text(tokenizer)
        self._param = param

    def allowed(self) -> NDArray[np.bool_]:
        """Return which tokens may come next, [vocabulary]; only end-of-text tokens at the end of the grammar.

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
        """Advance past the chosen token.

        Raises:
            InvalidRequestError: the automaton has grown too large.
        """
        # llguidance supports a single end-of-text token.
        self._matcher.consume_token(self._ends_of_text[0] if token in self._ends_of_text else token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise InvalidRequestError(f"{self._param}: {explain(self._matcher.get_error())}", param=self._param)


def explain(error: str) -> str:
    """Extract the cause from an error message of llguidance."""
    if error.startswith("NoExtension"):
        return "no text matches it"
    lines = [line.strip() for line in error.splitlines()]
    found = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    reason = (found or lines)[0].rpartition("(in regex): ")[2].partition(". Enable ")[0][:200]
    too_large = ("too many", "too big", "too large", "too complex", "limit")
    return f"too large: {reason}" if any(word in reason for word in too_large) else reason
