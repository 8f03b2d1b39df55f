"""Tokenizers whose tokens have no fixed text: WordPiece, Unigram (SentencePiece), and BPE on characters.

A token may gain or lose a space depending on its position, and a character may take several byte tokens. Each token is
therefore decoded together with some tokens before it. Its text is what the result adds to the text of those alone, as
in Hugging Face's text-generation-inference.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import tokenizers

from generation.text.tokenizer import Tokenizer

REPLACEMENT = "\ufffd"
# Minimum number of prompt tokens with which the first generated token is decoded.
CONTEXT = 4
# Maximum number of byte tokens to hold for an incomplete character, which has at most 4 bytes.
WAITING = 4
# Maximum number of tokens to decode together.
LONGEST = 32


class ContextTokenizer(Tokenizer):
    """Encodes and decodes text with any tokenizer of the `tokenizers` library."""

    byte_level: ClassVar[bool] = False

    def __init__(self, inner: tokenizers.Tokenizer, **options: Any) -> None:
        super().__init__(inner, **options)
        self._anchor: int | None = None
        self._texts: dict[int, str] = {}

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`, as `transformers` does with ``clean_up_tokenization_spaces=False``."""
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
            # The context must not start inside a character, or the bytes after it would be invalid, too.
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
        """Return a token that is a letter or a word by itself, or 0 if there is none."""
        ordinary = (token for token in range(self.vocabulary) if self.has(token) and not self.special(token))
        return next((token for token in ordinary if self.decode([token]).isalpha()), 0)


class ContextDetokenizer:
    """Turns tokens into text by decoding each together with the tokens before it.

    Args:
        decode: returns the text of token ids.
        special: returns whether a token is special and has no text.
        before: the last tokens of the prompt, without special tokens.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], special: Callable[[int], bool], before: Sequence[int]
    ) -> None:
        self._decode, self._special = decode, special
        self._ids = list(before)
        self._known = len(self._ids)  # number of tokens whose text has been returned
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
        """Return the text of the tokens that are still held."""
        return self._release(self._decode(self._ids))

    def _release(self, text: str) -> str:
        new = text[len(self._text) :]
        # Keep the context after tokens without text, but drop old tokens once there are too many.
        if new or len(self._ids) > LONGEST:
            self._ids = self._ids[self._known :]
        self._known = len(self._ids)
        self._text = self._decode(self._ids)
        return new
