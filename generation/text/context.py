"""Tokenizers whose tokens have no fixed text: WordPiece, Unigram (SentencePiece), BPE on characters.

A token may get a space before it, or lose one, by where it is; a character may be written in several byte tokens. So
tokens are decoded together with some before them, and the text that is new is what the longer one adds, as in
Hugging Face's text-generation-inference.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import tokenizers

from generation.text.tokenizer import Tokenizer

REPLACEMENT = "\ufffd"
# Tokens of a prompt to decode the first generated one with, at least.
CONTEXT = 4
# Tokens that may wait for the end of a character, which has 4 bytes at most; past it they are no character.
WAITING = 4
# Tokens that are decoded together at most.
LONGEST = 32


class ContextTokenizer(Tokenizer):
    """Encodes and decodes with any tokenizer of the `tokenizers` library."""

    byte_level: ClassVar[bool] = False

    def __init__(self, inner: tokenizers.Tokenizer, **options: Any) -> None:
        super().__init__(inner, **options)
        self._anchor: int | None = None
        self._texts: dict[int, str] = {}

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`, as `transformers` does without cleaning up spaces."""
        ids = list(ids)
        for token in ids:
            self._check(token)
        return str(self._inner.decode(ids, skip_special_tokens=True))

    def token_bytes(self, token: int) -> bytes:
        """Return the text that a token adds after another word, in UTF-8."""
        text = self._texts.get(token)
        if text is None:
            self._check(token)
            text = self._texts[token] = "" if self.special(token) else self._after_anchor(token)
        return text.encode()

    def echo(self, prompt: Sequence[int], *, special: bool = False) -> str:
        """Return the text of a prompt."""
        return self._decode(list(prompt)) if special else self.decode(prompt)

    def _decode(self, ids: list[int]) -> str:
        """Return the text of `ids` with the names of special tokens."""
        return str(self._inner.decode(ids, skip_special_tokens=False))

    def detokenizer(
        self,
        prompt: Sequence[int] = (),
        *,
        echoed: bool = False,  # noqa: ARG002 - a prompt of such a tokenizer has whole characters
        special: bool = False,
    ) -> "ContextDetokenizer":
        """Return a detokenizer that continues `prompt`, echoed or not."""
        before: list[int] = []
        for token in reversed(prompt):
            # Bytes from the middle of a character would make those of the next ones invalid, too.
            whole = len(before) >= CONTEXT and not self.decode(before).startswith(REPLACEMENT)
            if whole or len(before) == CONTEXT + WAITING:
                break
            if not self.special(token):
                before.insert(0, token)
        if special:
            return ContextDetokenizer(self._decode, lambda _: False, before)
        return ContextDetokenizer(self.decode, self.special, before)

    def _after_anchor(self, token: int) -> str:
        if self._anchor is None:
            self._anchor = self._find_anchor()
        before = self.decode([self._anchor])
        return self.decode([self._anchor, token])[len(before) :]

    def _find_anchor(self) -> int:
        """Return a token that is a letter or a word by itself; the first one where there is none."""
        ordinary = (token for token in range(self.vocabulary) if self.has(token) and not self.special(token))
        return next((token for token in ordinary if self.decode([token]).isalpha()), 0)


class ContextDetokenizer:
    """Turns tokens into text by decoding each with those before it. `before` are ordinary tokens of the prompt."""

    def __init__(
        self, decode: Callable[[list[int]], str], special: Callable[[int], bool], before: Sequence[int]
    ) -> None:
        self._decode, self._special = decode, special
        self._ids = list(before)
        self._known = len(self._ids)  # tokens whose text is out
        self._text = decode(self._ids)

    def push(self, token: int) -> str:
        """Return the text that `token` completes."""
        if self._special(token):
            return ""
        self._ids.append(token)
        text = self._decode(self._ids)
        if text.endswith(REPLACEMENT) and len(self._ids) - self._known < WAITING:
            return ""
        return self._release(text)

    def flush(self) -> str:
        """Return the text of tokens that still wait."""
        return self._release(self._decode(self._ids))

    def _release(self, text: str) -> str:
        new = text[len(self._text) :]
        # A token without text would be no context, but they must not pile up.
        if new or len(self._ids) > LONGEST:
            self._ids = self._ids[self._known :]
        self._known = len(self._ids)
        self._text = self._decode(self._ids)
        return new
