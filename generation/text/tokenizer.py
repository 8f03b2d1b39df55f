"""The base class of tokenizers, which turn text into token ids and back; `loading` chooses the subclass."""

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import ClassVar

import tokenizers
from tokenizers import pre_tokenizers

from generation.text.detokenizer import Detokenizer

# Otherwise the library starts threads that compete with onnxruntime's.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


class TokenizerError(ValueError):
    """The tokenizer file cannot be used, or a text cannot be encoded."""


class Tokenizer(ABC):
    """Encodes and decodes text.

    Attributes:
        vocabulary: token ids are below this number.
        holes: ids below `vocabulary` that are not tokens; usually none.
        ends_of_text: tokens that end a text; usually one.
        begin_of_text: token that an empty prompt becomes; None if the model has none.
        byte_level: whether every token stands for fixed bytes, regardless of its position.
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
        # A tokenizer file may enable truncation and padding; neither is wanted for a prompt.
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
        """Return whether a token is special, such as the end-of-text token, and has no text."""
        return token in self._added and bool(self._added[token].special)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of `text`, without truncation, as `transformers` does.

        The name of a special token, such as ``<|endoftext|>``, becomes that token.

        Args:
            text: the text to encode.
            add_special_tokens: whether to add the tokens that the file's post-processor adds, if any.

        Raises:
            TokenizerError: the text contains a lone surrogate, or a character or byte without a token.
        """
        try:
            # A batch of one, because only batches release the interpreter lock. Offsets would take time.
            return list(self._inner.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0].ids)
        except (UnicodeEncodeError, TypeError) as error:
            raise TokenizerError("the text holds half of a surrogate pair, which is no character") from error

    @cached_property
    def longest(self) -> int | None:
        """The length of the longest token in characters: a text of n characters has at least n / `longest` tokens.

        None if a text may have fewer tokens, because the tokenizer removes characters before it splits the text.
        """
        added = self._inner.get_added_tokens_decoder().values()
        keeps = self._inner.normalizer is None and isinstance(self._inner.pre_tokenizer, pre_tokenizers.ByteLevel)
        if not keeps or any(token.lstrip or token.rstrip for token in added):
            return None
        return max(map(len, self._inner.get_vocab()))

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`, without special tokens.

        Raises:
            IndexError: an id is not a token.
        """

    @abstractmethod
    def token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token adds to a text; empty for a special token.

        Raises:
            IndexError: the id is not a token.
        """

    @abstractmethod
    def echo(self, prompt: Sequence[int], *, special: bool = False) -> str:
        """Return the text of a prompt, as it is put before its continuation."""

    @abstractmethod
    def detokenizer(self, prompt: Sequence[int] = (), *, echoed: bool = False, special: bool = False) -> Detokenizer:
        """Return a detokenizer for the tokens that follow `prompt`.

        Args:
            prompt: token ids of the prompt.
            echoed: whether the response puts the prompt before the text.
            special: whether the text includes the names of special tokens.
        """

    def piece(self, token: int) -> str:
        """Return a token as text for display; the name of a special token."""
        data = self.token_bytes(token)
        return data.decode(errors="replace") if data else str(self._inner.id_to_token(token))

    def _check(self, token: int) -> None:
        if not self.has(token):
            raise IndexError(f"{token} is not a token id from 0 to {self.vocabulary - 1}")

    def entry(self, token: int) -> str:
        """Return a token as written in the vocabulary; a byte-level tokenizer writes bytes as characters there."""
        return str(self._inner.id_to_token(token))
