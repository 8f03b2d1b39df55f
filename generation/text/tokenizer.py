"""Text to token ids and back, for byte-level BPE tokenizers of the GPT-2 kind."""

from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import decoders, models

END_OF_TEXT = "<|endoftext|>"


class TokenizerError(ValueError):
    """The tokenizer file cannot be used, or a text cannot be encoded."""


def _byte_alphabet() -> dict[str, int]:
    """Return the character that stands for each byte in a byte-level vocabulary, as GPT-2's ``bytes_to_unicode`` does.

    Printable Latin-1 stands for itself; every other byte takes the next free character from U+0100 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


class Tokenizer:
    """Encodes and decodes; ids are integers below `vocabulary`. Decoding works on bytes, so that it is exact."""

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        self._inner = inner
        # A tokenizer file may ask for either, and a prompt is never shortened or filled up.
        inner.no_truncation()
        inner.no_padding()
        self._alphabet = _byte_alphabet()
        if not (isinstance(inner.model, models.BPE) and isinstance(inner.decoder, decoders.ByteLevel)):
            raise TokenizerError("it is not a byte-level BPE tokenizer")
        missing = [byte for character, byte in self._alphabet.items() if inner.token_to_id(character) is None]
        if missing:  # text that holds them would be dropped without a word
            raise TokenizerError(f"it is not byte-level: it has no token for byte {missing[0]:#04x}")
        added = inner.get_added_tokens_decoder()
        end = inner.token_to_id(END_OF_TEXT)
        if end not in added or not added[end].special:
            raise TokenizerError(f"it has no special token {END_OF_TEXT}")
        self.end_of_text: int = end
        self.vocabulary: int = inner.get_vocab_size()
        # Filled as tokens come: for GPT-2's 50,257 the whole table takes more than half as long as reading the file.
        self._bytes = {i: b"" if token.special else token.content.encode() for i, token in added.items()}

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Load ``tokenizer.json``.

        Raises:
            TokenizerError: the file cannot be read, or is not a byte-level BPE tokenizer.
        """
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)))
        except TokenizerError as error:
            raise TokenizerError(f"{path} cannot be used: {error}") from None
        except Exception as error:
            # The library raises bare exceptions.
            raise TokenizerError(f"{path} cannot be read as a tokenizer: {error}") from error

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of `text`; a literal ``<|endoftext|>`` becomes the special token. Nothing is cut off.

        `add_special_tokens` lets the tokenizer's post-processor add its own, if it has one that does.

        Raises:
            TokenizerError: the text holds a lone surrogate, which no encoding has.
        """
        try:
            return list(self._inner.encode(text, add_special_tokens=add_special_tokens).ids)
        except (UnicodeEncodeError, TypeError) as error:
            raise TokenizerError("the text holds half of a surrogate pair, which is no character") from error

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`; bytes that are not UTF-8 become U+FFFD, special tokens nothing.

        Raises:
            IndexError: an id is not a token.
        """
        return b"".join(map(self.token_bytes, ids)).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for a special token.

        Raises:
            IndexError: it is not a token.
        """
        data = self._bytes.get(token)
        if data is None:
            text = self._inner.id_to_token(token) if 0 <= token < self.vocabulary else None
            if text is None:
                raise IndexError(f"{token} is not a token id from 0 to {self.vocabulary - 1}")
            data = self._bytes[token] = self._to_bytes(text)
        return data

    def _to_bytes(self, text: str) -> bytes:
        try:
            return bytes(map(self._alphabet.__getitem__, text))
        except KeyError:  # not written in the byte alphabet: its own text, as the library's decoder has it
            return text.encode()

    def piece(self, token: int) -> str:
        """Return a token as text to show; a special token by its name."""
        data = self.token_bytes(token)
        return data.decode(errors="replace") if data else str(self._inner.id_to_token(token))

    def entry(self, token: int) -> str:
        """Return a token as it stands in the vocabulary, in the alphabet of its bytes."""
        return str(self._inner.id_to_token(token))
