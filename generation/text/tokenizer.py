"""Text to token ids and back: what all kinds of tokenizers share. `loading` picks the kind."""

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import ClassVar

import tokenizers
from tokenizers import pre_tokenizers

from generation.text.detokenizer import Detokenizer

# The library would start threads of its own, which compete with those that compute.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


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
        self._added = inner.get_added_tokens_decoder()
        # Not its `get_vocab_size`, which puts all tokens into a table first: 50,257 take 8 ms.
        kept = inner.model
        size = inner.get_vocab_size(with_added_tokens=False)
        size += sum(kept.token_to_id(token.content) is None for token in self._added.values())
        self.vocabulary = size if vocabulary is None else vocabulary
        self.holes = frozenset(holes)
        expected = self.vocabulary - len(self.holes)
        if size != expected:
            raise TokenizerError(f"it has {size} tokens, not {expected}: it is another model's")
        self.ends_of_text = tuple(ends_of_text)
        self.begin_of_text = begin_of_text

    def has(self, token: int) -> bool:
        """Return whether an id is a token."""
        return 0 <= token < self.vocabulary and token not in self.holes

    def special(self, token: int) -> bool:
        """Return whether a token is special: it marks a place, such as the end of a text, and has no text."""
        return token in self._added and bool(self._added[token].special)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of `text`, as `transformers` does: with the tokens that the file adds at either end.

        The name of a special token, such as ``<|endoftext|>``, becomes that token. Nothing is cut off.

        `add_special_tokens` lets the tokenizer's post-processor add its own, if it has one that does.

        Raises:
            TokenizerError: the text holds a lone surrogate, or something that the tokenizer has no token for.
        """
        try:
            # As a batch of one it releases the interpreter's lock, and without offsets it takes a tenth of the time.
            return list(self._inner.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0].ids)
        except (UnicodeEncodeError, TypeError) as error:
            raise TokenizerError("the text holds half of a surrogate pair, which is no character") from error

    @cached_property
    def longest(self) -> int | None:
        """The characters of the longest token, so that a text of n characters has n / `longest` tokens or more.

        None where a text may have fewer, because something is taken out of it before it is split.
        """
        added = self._inner.get_added_tokens_decoder().values()
        keeps = self._inner.normalizer is None and isinstance(self._inner.pre_tokenizer, pre_tokenizers.ByteLevel)
        if not keeps or any(token.lstrip or token.rstrip for token in added):
            return None
        return max(map(len, self._inner.get_vocab()))

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
    def echo(self, prompt: Sequence[int], *, special: bool = False) -> str:
        """Return the text of a prompt that is put before the text which continues it."""

    @abstractmethod
    def detokenizer(self, prompt: Sequence[int] = (), *, echoed: bool = False, special: bool = False) -> Detokenizer:
        """Return what turns the tokens that follow `prompt` into text, one at a time."""

    def piece(self, token: int) -> str:
        """Return a token as text to show; a special token by its name."""
        data = self.token_bytes(token)
        return data.decode(errors="replace") if data else str(self._inner.id_to_token(token))

    def _check(self, token: int) -> None:
        if not self.has(token):
            raise IndexError(f"{token} is not a token id from 0 to {self.vocabulary - 1}")

    def entry(self, token: int) -> str:
        """Return a token as it stands in the vocabulary, in the alphabet of its bytes."""
        return str(self._inner.id_to_token(token))
