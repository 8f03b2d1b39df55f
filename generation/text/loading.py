"""Load ``tokenizer.json``, and choose the class for its kind of tokenizer.

Module `byte_level` handles byte-level BPE, the kind of GPT-2. Module `context` handles every other kind, and is
imported only if needed.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models

from generation.text.tokenizer import Tokenizer, TokenizerError


def load(
    path: Path,
    *,
    vocabulary: int | None = None,
    holes: Collection[int] = (),
    ends_of_text: Sequence[int] = (),
    begin_of_text: int | None = None,
) -> Tokenizer:
    """Load ``tokenizer.json``; the other arguments are the attributes of `Tokenizer`, which the file does not have.

    Raises:
        TokenizerError: the file cannot be read, or its number of tokens is not `vocabulary` less `holes`.
    """
    try:
        inner = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        # The library raises plain exceptions.
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


def _kind(inner: tokenizers.Tokenizer) -> type[Tokenizer]:
    if isinstance(inner.model, models.BPE) and isinstance(inner.decoder, decoders.ByteLevel):
        from generation.text.byte_level import ByteLevelTokenizer

        return ByteLevelTokenizer
    from generation.text.context import ContextTokenizer

    return ContextTokenizer
