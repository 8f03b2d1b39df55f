"""The ``logprobs`` object of OpenAI's completions: four parallel lists."""

from collections.abc import Iterable
from typing import Any

from generation.engine.request import Token
from generation.text.tokenizer import Tokenizer

# JSON knows no infinity; this is what OpenAI's and vLLM's servers send for a token that cannot be.
LOWEST = -9999.0


class Report:
    """Collects tokens and returns them in OpenAI's legacy form."""

    def __init__(self, tokenizer: Tokenizer, *, as_ids: bool) -> None:
        self._tokenizer = tokenizer
        self._as_ids = as_ids
        self._lists: dict[str, list[Any]] = {
            "tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []
        }  # fmt: skip

    def add_prompt(self, tokens: Iterable[Token]) -> None:
        """Add the tokens of an echoed prompt."""
        detokenizer, offset = self._tokenizer.detokenizer(), 0
        for token in tokens:
            self._add(token, offset)
            offset += len(detokenizer.push(token.id))

    def add(self, tokens: Iterable[Token], shift: int) -> None:
        """Add generated tokens; the text of the choice begins `shift` characters into what is returned."""
        for token in tokens:
            self._add(token, token.offset + shift)

    def extend(self, other: "Report") -> None:
        """Add what another report holds."""
        for name, values in other.legacy().items():
            self._lists[name] += values

    def legacy(self) -> dict[str, list[Any]]:
        """Return the lists."""
        return self._lists

    def _add(self, token: Token, offset: int) -> None:
        logprob = top = None
        if token.logprob is not None:
            logprob = max(token.logprob, LOWEST)
            top = {self.name(i): max(value, LOWEST) for i, value in token.alternatives.items()}
            top.setdefault(self.name(token.id), logprob)
        self._lists["tokens"].append(self.name(token.id))
        self._lists["token_logprobs"].append(logprob)
        self._lists["top_logprobs"].append(top)
        self._lists["text_offset"].append(offset)

    def name(self, token: int) -> str:
        """Return what a token is called: its text, or its bytes where they are not whole characters."""
        if self._as_ids:
            return f"token_id:{token}"
        data = self._tokenizer.token_bytes(token)
        if not data:
            return self._tokenizer.piece(token)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
