"""Byte-level BPE tokenizers like GPT-2's, in which every token stands for fixed bytes, so that decoding is exact."""

import codecs
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import tokenizers

from generation.text.tokenizer import Tokenizer, TokenizerError

# Maximum length of a character in UTF-8, and so the most prompt tokens that an incomplete character can span.
CHARACTER_BYTES = 4


def _byte_alphabet() -> dict[str, int]:
    """Return the byte of each character in a byte-level vocabulary, the inverse of GPT-2's ``bytes_to_unicode``.

    Printable Latin-1 characters stand for themselves. Every other byte has the next free character from U+0100 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


class ByteLevelTokenizer(Tokenizer):
    """Encodes and decodes text with byte-level BPE."""

    byte_level: ClassVar[bool] = True

    def __init__(self, inner: tokenizers.Tokenizer, **options: Any) -> None:
        super().__init__(inner, **options)
        self._alphabet = _byte_alphabet()
        missing = {byte for character, byte in self._alphabet.items() if inner.token_to_id(character) is None}
        # Without an unknown token, the library would silently drop these bytes.
        self._missing = missing if inner.model.unk_token is None else set()
        # Filled on demand: for GPT-2's 50,257 tokens, the whole table takes half as long as reading the file.
        self._bytes = {i: b"" if token.special else token.content.encode() for i, token in self._added.items()}

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of `text`.

        Raises:
            TokenizerError: the text contains a lone surrogate, or a byte without a token.
        """
        ids = super().encode(text, add_special_tokens=add_special_tokens)
        if self._missing and (unknown := self._missing.intersection(text.encode())):
            raise TokenizerError(f"the tokenizer has no token for byte {min(unknown):#04x}")
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`, without special tokens; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(map(self.token_bytes, ids)).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token; empty for a special token.

        Raises:
            IndexError: the id is not a token.
        """
        data = self._bytes.get(token)
        if data is None:
            self._check(token)
            data = self._bytes[token] = self._to_bytes(self._inner.id_to_token(token))
        return data

    def detokenizer(
        self, prompt: Sequence[int] = (), *, echoed: bool = False, special: bool = False
    ) -> "ByteDetokenizer":
        """Return a detokenizer; after an echoed prompt, it completes a character that the prompt has started."""
        made = ByteDetokenizer(self._named_bytes if special else self.token_bytes)
        for token in prompt[-CHARACTER_BYTES:] if echoed else ():
            made.push(token)
        return made

    def _named_bytes(self, token: int) -> bytes:
        return self.token_bytes(token) or self.piece(token).encode()

    def echo(self, prompt: Sequence[int], *, special: bool = False) -> str:
        """Return the text of a prompt, without an incomplete character at its end."""
        made = ByteDetokenizer(self._named_bytes if special else self.token_bytes)
        return "".join(map(made.push, prompt))

    def _to_bytes(self, text: str) -> bytes:
        try:
            return bytes(map(self._alphabet.__getitem__, text))
        except KeyError:  # not in the byte alphabet: use the text itself, as the library's decoder does
            return text.encode()


class ByteDetokenizer:
    """Turns tokens into text by their bytes; holds the bytes of an incomplete character for the next token."""

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """Return the text that `token` completes."""
        return self._decoder.decode(self._token_bytes(token))

    def flush(self) -> str:
        """Return U+FFFD for an incomplete character, or else an empty text."""
        return self._decoder.decode(b"", final=True)
