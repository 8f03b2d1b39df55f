"""Text to token ids and back. What all kinds of tokenizers share; `load` picks the kind.

Byte-level BPE (GPT-2's own) is in `byte_level`. Every other kind is in `context`, which is imported only for those.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import tokenizers
from tokenizers import decoders, models

from generation.text.detokenizer import Detokenizer


class TokenizerError(ValueError):
    """The tokenizer file cannot be used, or a text cannot be encoded."""


class Tokenizer(ABC):
    """Encodes and decodes.

    Attributes:
        vocabulary: token ids are below this number.
        holes: ids below `vocabulary` that are not tokens; usually none.
        ends_of_text: tokens that end a text; usually one.
        begin_of_text: the token that an empty prompt becomes; None where the model has none.
        byte_level: whether every token stands for fixed bytes, wherever it is.
    """

    byte_level: ClassVar[bool]

    def __init__(
        self,
        inner: tokenizers.Tokenizer,
        *,
        vocabulary: int | None = None,
        holes: Collection[int] = (),
        ends_of_text: Sequence[int] = (),
        begin_of_text: int | None = None,
    ) -> None:
        self._inner = inner
        # A tokenizer file may ask for either, and a prompt is never shortened or filled up.
        inner.no_truncation()
        inner.no_padding()
        size = inner.get_vocab_size()
        self.vocabulary = size if vocabulary is None else vocabulary
        self.holes = frozenset(holes)
        if size != self.vocabulary - len(self.holes):
            raise TokenizerError(f"it has {size} tokens, not {self.vocabulary - len(self.holes)}")
        self.ends_of_text = tuple(ends_of_text)
        self.begin_of_text = begin_of_text
        self._added = inner.get_added_tokens_decoder()

    @staticmethod
    def load(
        path: Path,
        *,
        vocabulary: int | None = None,
        holes: Collection[int] = (),
        ends_of_text: Sequence[int] = (),
        begin_of_text: int | None = None,
    ) -> "Tokenizer":
        """Load ``tokenizer.json``; the rest is what the file does not say (see the attributes).

        Raises:
            TokenizerError: the file cannot be read, or has another number of tokens than `vocabulary` without `holes`.
        """
        try:
            inner = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:
            # The library raises bare exceptions.
            raise TokenizerError(f"{path} cannot be read as a tokenizer: {error}") from error
        try:
            return _kind(inner)(
                inner,
                vocabulary=vocabulary,
                holes=holes,
                ends_of_text=ends_of_text,
                begin_of_text=begin_of_text,
            )
        except TokenizerError as error:
            raise TokenizerError(f"{path} cannot be used: {error}") from None

    def has(self, token: int) -> bool:
        """Return whether an id is a token."""
        return 0 <= token < self.vocabulary and token not in self.holes

    def special(self, token: int) -> bool:
        """Return whether a token is special: it marks a place, such as the end of a text, and has no text."""
        return token in self._added and bool(self._added[token].special)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of `text`, as `transformers` does: with the tokens that the file adds at either end.

        The name of a special token, such as ``<|endoftext|>``, becomes that token. Nothing is cut off.

        Raises:
            TokenizerError: the text holds a lone surrogate, or something that the tokenizer has no token for.
        """
        try:
            return list(self._inner.encode(text).ids)
        except (UnicodeEncodeError, TypeError) as error:
            raise TokenizerError("the text holds half of a surrogate pair, which is no character") from error

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`; special tokens have none.

        Raises:
            IndexError: an id is not a token.
        """

    @abstractmethod
    def token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token adds to a text, none for a special token.

        Raises:
            IndexError: it is not a token.
        """

    @abstractmethod
    def detokenizer(self, prompt: Sequence[int] = ()) -> Detokenizer:
        """Return what turns the tokens that follow `prompt` into text, one at a time."""

    def piece(self, token: int) -> str:
        """Return a token as text to show; a special token by its name."""
        data = self.token_bytes(token)
        return data.decode(errors="replace") if data else str(self._inner.id_to_token(token))

    def _check(self, token: int) -> None:
        if not self.has(token):
            raise IndexError(f"{token} is not a token id from 0 to {self.vocabulary - 1}")


def _kind(inner: tokenizers.Tokenizer) -> type[Tokenizer]:
    if isinstance(inner.model, models.BPE) and isinstance(inner.decoder, decoders.ByteLevel):
        from generation.text.byte_level import ByteLevelTokenizer

        return ByteLevelTokenizer
    from generation.text.context import ContextTokenizer

    return ContextTokenizer
