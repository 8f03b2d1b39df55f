"""Answers within bounds: one of some given strings, or a text that a regular expression describes.

The automaton is llguidance's. It is imported, and fed the vocabulary, when the first such request comes.
"""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generation.errors import InvalidRequestError
from generation.tokenizer import Tokenizer


class RegexGuide:
    """Walks one sequence through a grammar."""

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    def allowed(self) -> NDArray[np.bool_]:
        """Return the tokens that may come next, [vocabulary]; only end-of-text once the grammar is complete."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        return np.unpackbits(bits, count=self._vocabulary, bitorder="little").view(np.bool_)

    def advance(self, token: int) -> None:
        """Take the chosen token.

        Raises:
            RuntimeError: the grammar does not allow it.
        """
        self._matcher.consume_token(token)
        if self._matcher.is_error():
            raise RuntimeError(self._matcher.get_error())


def make_guide(
    tokenizer: Tokenizer, choices: Sequence[str] | None, regex: str | None
) -> Callable[[], RegexGuide] | None:
    """Return a maker of guides, one for each sequence; None if nothing is asked for.

    Raises:
        InvalidRequestError: the regular expression is wrong, or too large to be an automaton.
    """
    if choices is None and regex is None:
        return None
    from llguidance import LLMatcher

    if regex is not None:
        param, grammar = "guided_regex", LLMatcher.grammar_from_regex(regex)
    else:
        alternatives = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices or ())
        param, grammar = "guided_choice", LLMatcher.grammar_from_lark(f"start: {alternatives}")
    vocabulary = _vocabulary(tokenizer)
    first = LLMatcher(vocabulary, grammar)
    if first.is_error():
        raise InvalidRequestError(f"{param}: {_reason(first.get_error())}", param=param)
    return lambda: RegexGuide(first.deep_copy(), tokenizer.vocabulary)


@lru_cache(maxsize=1)
def _vocabulary(tokenizer: Tokenizer) -> Any:
    from llguidance import LLTokenizer

    return LLTokenizer(tokenizer.to_json(), n_vocab=tokenizer.vocabulary, eos_token=tokenizer.end_of_text)


def _reason(error: str) -> str:
    """Return the last line of the library's message, which says what is wrong."""
    lines = [line.strip() for line in error.splitlines()]
    found = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (found or lines)[0][:200]
