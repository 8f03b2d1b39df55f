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
from generation.text.tokenizer import Tokenizer

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
        self._ends_of_text = list(tokenizer.ends_of_text)
        # To the library the name of a special token is text like any other.
        self._without_text = _without_text(tokenizer)
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
            raise InvalidRequestError(f"{self._param}: {_reason(self._matcher.get_error())}", param=self._param)


async def make_guide(
    tokenizer: Tokenizer, choices: Sequence[str] | None, regex: str | None
) -> Callable[[], GrammarGuide] | None:
    """Return a maker of guides, one for each sequence; None if nothing is asked for.

    Raises:
        InvalidRequestError: the regular expression is wrong, too large, or nothing matches it; or the model's
            tokenizer is not byte-level, or has no end-of-text token.
    """
    if choices is None and regex is None:
        return None
    if not tokenizer.byte_level or not tokenizer.ends_of_text:
        param = "guided_choice" if regex is None else "guided_regex"
        lacks = "an end-of-text token" if tokenizer.byte_level else "a byte-level tokenizer"
        raise InvalidRequestError(f"{param}: not supported by this model, which lacks {lacks}", param=param)
    return await asyncio.to_thread(_compile, tokenizer, choices, regex)


def _compile(tokenizer: Tokenizer, choices: Sequence[str] | None, regex: str | None) -> Callable[[], GrammarGuide]:
    from llguidance import LLMatcher, LLParserLimits

    if regex is not None:
        param, grammar = "guided_regex", LLMatcher.grammar_from_regex(regex)
        if (len(regex) - len(regex.rstrip("\\"))) % 2:  # the library would drop it
            raise InvalidRequestError("guided_regex: ends in a lone backslash", param=param)
    else:
        param, grammar = "guided_choice", _choice_grammar(choices or (), tokenizer)
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


def _choice_grammar(choices: Sequence[str], tokenizer: Tokenizer) -> str:
    """Return the grammar, in Lark's notation, whose strings are written as in JSON."""
    from llguidance import LLMatcher

    names = {tokenizer.piece(token) for token in _without_text(tokenizer) if tokenizer.has(token)}
    for choice in choices:
        for name in names:
            if name in choice:
                raise InvalidRequestError(f"guided_choice: {name} cannot be part of an answer", param="guided_choice")
    return str(LLMatcher.grammar_from_lark("start: " + " | ".join(map(json.dumps, choices))))


class _Vocabulary:
    """What llguidance asks of a tokenizer."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.eos_token_id = tokenizer.ends_of_text[0]
        self.special_token_ids = [self.eos_token_id]
        self.tokens = [_bytes(tokenizer, token) for token in range(tokenizer.vocabulary)]
        self._encode = tokenizer.encode

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)


def _bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """Return what a token stands for: for a special one its name, for an id that is no token what no text has."""
    if not tokenizer.has(token):
        return b"\xff"
    return tokenizer.token_bytes(token) or tokenizer.piece(token).encode()


@lru_cache(maxsize=1)
def _without_text(tokenizer: Tokenizer) -> list[int]:
    """Return the ids that no text is made of: special tokens, and those that are no tokens."""
    ids = range(tokenizer.vocabulary)
    return [token for token in ids if not tokenizer.has(token) or not tokenizer.token_bytes(token)]


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
