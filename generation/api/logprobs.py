"""Log-probabilities over HTTP: OpenAI's ``logprobs``, four parallel lists, and vLLM's ``prompt_logprobs``."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from statistics import fmean
from typing import Any

from generation.engine.request import Token
from generation.text.tokenizer import Tokenizer

# JSON has no infinity; OpenAI's and vLLM's servers send this value for an impossible token.
LOWEST = -9999.0


def mean(logprobs: Sequence[float]) -> float:
    """Return the mean log-probability of a sequence; one without tokens ranks last."""
    return fmean(logprobs) if logprobs else -math.inf


def token_name(tokenizer: Tokenizer, token: int, *, as_id: bool) -> str:
    """Return the name of a token: its text, or its bytes where they are not whole characters; with `as_id` its id."""
    if as_id:
        return f"token_id:{token}"
    data = tokenizer.token_bytes(token)
    if not data:
        return tokenizer.piece(token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


class Report:
    """Collects tokens into the four parallel lists of OpenAI's completions."""

    def __init__(self, tokenizer: Tokenizer, *, as_ids: bool) -> None:
        self._tokenizer = tokenizer
        self._as_ids = as_ids
        self._lists: dict[str, list[Any]] = {
            "tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []
        }  # fmt: skip

    def add_prompt(self, tokens: Iterable[Token], alternatives: int) -> None:
        """Add the tokens of an echoed prompt, with this many of the likeliest at each place; -1 = all."""
        detokenizer, offset = self._tokenizer.detokenizer(), 0
        for token in tokens:
            self._add(token, offset, alternatives)
            offset += len(detokenizer.push(token.id))

    def add(self, tokens: Iterable[Token], shift: int) -> None:
        """Add generated tokens; the text of the choice begins `shift` characters into what is returned."""
        for token in tokens:
            self._add(token, token.offset + shift)

    def extend(self, other: "Report") -> None:
        """Add what another report holds."""
        for name, values in other.lists().items():
            self._lists[name] += values

    def lists(self) -> dict[str, list[Any]]:
        """Return the four lists by name."""
        return self._lists

    def _add(self, token: Token, offset: int, alternatives: int = -1) -> None:
        logprob = top = None
        if token.logprob is not None:
            logprob = max(token.logprob, LOWEST)
            top = {self.name(token.id): logprob}  # the chosen token comes first, as vLLM's clients expect
            for other, value in _first(token.alternatives, alternatives):
                top.setdefault(self.name(other), max(value, LOWEST))
        self._lists["tokens"].append(self.name(token.id))
        self._lists["token_logprobs"].append(logprob)
        self._lists["top_logprobs"].append(top)
        self._lists["text_offset"].append(offset)

    def name(self, token: int) -> str:
        """Return the name of a token."""
        return token_name(self._tokenizer, token, as_id=self._as_ids)


def prompt_report(tokens: Iterable[Token], tokenizer: Tokenizer, alternatives: int) -> list[dict[str, Any] | None]:
    """Return vLLM's ``prompt_logprobs``: each token of the prompt and the likeliest tokens at its place, by their ids.

    The first token, which nothing precedes, has None.
    """
    return [None if token.logprob is None else _places(token, tokenizer, alternatives) for token in tokens]


def _places(token: Token, tokenizer: Tokenizer, alternatives: int) -> dict[str, Any]:
    def entry(one: int, logprob: float, rank: int) -> dict[str, Any]:
        return {"logprob": max(logprob, LOWEST), "rank": rank, "decoded_token": tokenizer.piece(one)}

    found = {str(token.id): entry(token.id, token.logprob or 0.0, token.rank)}
    for rank, (other, logprob) in enumerate(_first(token.alternatives, alternatives), 1):
        found.setdefault(str(other), entry(other, logprob, rank))
    return found


def _first(alternatives: Mapping[int, float], count: int) -> Iterable[tuple[int, float]]:
    return islice(alternatives.items(), None if count < 0 else count)
