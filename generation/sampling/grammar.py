"""Compile a constraint on the generated text into a grammar that llguidance follows token by token.

A constraint is a JSON schema, a regular expression, a list of strings, or a grammar in Lark or GBNF notation. The
library is imported, and the vocabulary passed to it, on the first request with a constraint.
"""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from generation.errors import InvalidRequestError
from generation.sampling.guide import GrammarGuide, explain, without_text
from generation.sampling.json_schema import with_patterns
from generation.text.tokenizer import Tokenizer

# Bounds on llguidance's automaton, so that no request delays the others in the batch. The library uses about 50,000
# units of fuel per millisecond while compiling, and 14,000 in a step. With these bounds the slowest token measured took
# 12 ms.
FUEL_OF_KIND = {"regex": 50_000, "choice": 50_000, "json": 1_000_000, "grammar": 1_000_000}
STEP_FUEL = 50_000
STEP_ITEMS = 20_000
STATES = 10_000
# Number of compiled grammars to keep, least recently used evicted first.
KEPT = 32
# Pattern of white space between the tokens of JSON. The library's default lets a small model emit blanks forever.
WHITESPACE = "[ ]?"

_building = threading.Lock()


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint on the generated text.

    Attributes:
        kind: ``json`` (a JSON schema), ``regex``, ``choice`` (a JSON list of strings) or ``grammar``.
        text: definition of the constraint, such as a JSON schema or a regular expression, as `kind` says.
        param: name of the request field that holds it, for error messages.
    """

    kind: str
    text: str
    param: str


async def make_guide(tokenizer: Tokenizer, constraint: Constraint | None) -> Callable[[], GrammarGuide] | None:
    """Compile a constraint; return a function that creates a guide for one sequence, or None without a constraint.

    Raises:
        InvalidRequestError: the definition is invalid, unsupported or too large, or no text matches it; or the model's
            tokenizer is not byte-level or has no end-of-text token.
    """
    if constraint is None:
        return None
    if not tokenizer.byte_level or not tokenizer.ends_of_text:
        lacks = "an end-of-text token" if tokenizer.byte_level else "a byte-level tokenizer"
        message = f"{constraint.param}: not supported by this model, which lacks {lacks}"
        raise InvalidRequestError(message, param=constraint.param)
    matcher = await asyncio.to_thread(_matcher, tokenizer, constraint)
    return lambda: GrammarGuide(matcher.deep_copy(), tokenizer, constraint.param)


class _GrammarError(ValueError):
    """A definition cannot be compiled; the message says why."""


def _matcher(tokenizer: Tokenizer, constraint: Constraint) -> Any:
    """Return a matcher at the start of the grammar; callers copy it."""
    with _building:  # simultaneous first requests build the vocabulary only once
        vocabulary = _vocabulary(tokenizer)
    try:
        if constraint.kind == "choice":
            _check_choices(constraint.text, tokenizer)
        matcher = _compiled(vocabulary, constraint.kind, constraint.text)
    except _GrammarError as error:
        raise InvalidRequestError(f"{constraint.param}: {error}", param=constraint.param) from None
    # A first token reveals a grammar that no text matches, and most of those that are too large.
    attempt = GrammarGuide(matcher.deep_copy(), tokenizer, constraint.param)
    attempt.advance(int(attempt.allowed().argmax()))
    return matcher


@lru_cache(maxsize=KEPT)
def _compiled(vocabulary: Any, kind: str, text: str) -> Any:
    from llguidance import LLMatcher, LLParserLimits

    limits = LLParserLimits(
        initial_lexer_fuel=FUEL_OF_KIND[kind],
        step_lexer_fuel=STEP_FUEL,
        step_max_items=STEP_ITEMS,
        max_lexer_states=STATES,
        verbose_errors=False,
    )
    matcher = LLMatcher(vocabulary, _grammar(kind, text), log_level=0, limits=limits)
    if matcher.is_error():
        raise _GrammarError(explain(matcher.get_error()))
    return matcher


def _grammar(kind: str, text: str) -> str:
    """Return a definition in llguidance's own notation."""
    from llguidance import LLMatcher, grammar_from

    if kind == "json":
        # Overrides, so that an `x-guidance` entry in the schema cannot turn the checks off.
        options: Any = {"whitespace_pattern": WHITESPACE, "lenient": False, "coerce_one_of": False}
        try:
            schema = json.dumps(with_patterns(json.loads(text)))
            return str(LLMatcher.grammar_from_json_schema(schema, overrides=options))
        except (ValueError, RecursionError, TypeError) as error:
            raise _GrammarError(str(error)[:200]) from None
    if kind == "regex":
        if (len(text) - len(text.rstrip("\\"))) % 2:  # llguidance would ignore it
            raise _GrammarError("ends in a lone backslash")
        return str(LLMatcher.grammar_from_regex(text))
    if kind == "choice":
        # String literals of Lark and JSON have the same syntax.
        return str(LLMatcher.grammar_from_lark("start: " + " | ".join(map(json.dumps, json.loads(text)))))
    try:
        return str(grammar_from("grammar", text))
    except (ValueError, RecursionError) as error:
        raise _GrammarError(str(error).replace("\n", " ")[:200]) from None


def _check_choices(text: str, tokenizer: Tokenizer) -> None:
    names = {tokenizer.piece(token) for token in without_text(tokenizer) if tokenizer.has(token)}
    for name in names:
        if name in text:
            raise _GrammarError(f"{name} cannot be part of an answer")


class _Vocabulary:
    """The interface that llguidance's `TokenizerWrapper` requires of a tokenizer."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.eos_token_id = tokenizer.ends_of_text[0]
        self.special_token_ids = [self.eos_token_id]
        self.tokens = [_bytes(tokenizer, token) for token in range(tokenizer.vocabulary)]
        self._encode = tokenizer.encode

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)


def _bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """Return the bytes of a token: the name of a special token; an invalid UTF-8 byte for an id that is not a token."""
    if not tokenizer.has(token):
        return b"\xff"
    return tokenizer.token_bytes(token) or tokenizer.piece(token).encode()


@lru_cache(maxsize=1)
def _vocabulary(tokenizer: Tokenizer) -> Any:
    """Return llguidance's tree of all tokens. For 50,257 tokens, building it holds the interpreter lock for 0.1 s."""
    from llguidance import LLTokenizer, TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(_Vocabulary(tokenizer)))
