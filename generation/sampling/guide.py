"""Answers within bounds: one of some given strings, or a text that a regular expression describes.

The automaton is llguidance's. It is imported, and fed the vocabulary, when the first such request comes.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generation.errors import InvalidRequestError
from generation.text.tokenizer import END_OF_TEXT, Tokenizer

# What an automaton may cost, so that no expression holds up the others in the batch: with these limits, which no
# expression for a text of some hundred characters comes near, the worst that was found took 12 ms for one token.
FUEL = 50_000
STATES = 10_000

_building = threading.Lock()


class GrammarGuide:
    """Walks one sequence through a grammar; `param` is the field that asked for it."""

    def __init__(self, matcher: Any, tokenizer: Tokenizer, param: str) -> None:
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
            raise InvalidRequestError(f"{self._param}: {_reason(self._matcher.get_error())}", param=self._param)


async def make_guide(
    tokenizer: Tokenizer, choices: Sequence[str] | None, regex: str | None
) -> Callable[[], GrammarGuide] | None:
    """Return a maker of guides, one for each sequence; None if nothing is asked for.

    Raises:
        InvalidRequestError: the regular expression is wrong, too large, or nothing matches it.
    """
    if choices is None and regex is None:
        return None
    return await asyncio.to_thread(_compile, tokenizer, choices, regex)


def _compile(tokenizer: Tokenizer, choices: Sequence[str] | None, regex: str | None) -> Callable[[], GrammarGuide]:
    from llguidance import LLMatcher, LLParserLimits

    if regex is not None:
        param, grammar = "guided_regex", LLMatcher.grammar_from_regex(regex)
        if (len(regex) - len(regex.rstrip("\\"))) % 2:  # the library would drop it
            raise InvalidRequestError("guided_regex: ends in a lone backslash", param=param)
    else:
        param, grammar = "guided_choice", _choice_grammar(choices or ())
    with _building:
        vocabulary = _vocabulary(tokenizer)
    limits = LLParserLimits(
        initial_lexer_fuel=FUEL, step_lexer_fuel=FUEL, max_lexer_states=STATES, verbose_errors=False
    )
    first = LLMatcher(vocabulary, grammar, log_level=0, limits=limits)
    if first.is_error():
        raise InvalidRequestError(f"{param}: {_reason(first.get_error())}", param=param)
    # What nothing matches, and most of what is too large, shows at the first token.
    attempt = GrammarGuide(first.deep_copy(), tokenizer, param)
    attempt.advance(int(attempt.allowed().argmax()))
    return lambda: GrammarGuide(first.deep_copy(), tokenizer, param)


def _choice_grammar(choices: Sequence[str]) -> str:
    """Return the grammar, in Lark's notation, whose strings are written as in JSON."""
    from llguidance import LLMatcher

    for choice in choices:
        if END_OF_TEXT in choice:
            raise InvalidRequestError(
                f"guided_choice: {END_OF_TEXT} cannot be part of an answer", param="guided_choice"
            )
    return str(LLMatcher.grammar_from_lark("start: " + " | ".join(map(json.dumps, choices))))


class _Vocabulary:
    """What llguidance asks of a tokenizer."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.eos_token_id = tokenizer.end_of_text
        self.special_token_ids = [tokenizer.end_of_text]
        self.tokens = [tokenizer.token_bytes(token) or END_OF_TEXT.encode() for token in range(tokenizer.vocabulary)]
        self._encode = tokenizer.encode

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)


@lru_cache(maxsize=1)
def _vocabulary(tokenizer: Tokenizer) -> Any:
    """Return the library's own tree of all tokens; for 50,257 of them it takes some 0.1 s of the interpreter's lock."""
    from llguidance import LLTokenizer, TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(_Vocabulary(tokenizer)))


def _reason(error: str) -> str:
    """Return the line of the library's message that says what is wrong."""
    if error.startswith("NoExtension"):
        return "no text matches it"
    lines = [line.strip() for line in error.splitlines()]
    found = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    reason = (found or lines)[0].rpartition("(in regex): ")[2][:200]
    return f"too large: {reason}" if "too many" in reason or "too big" in reason else reason
