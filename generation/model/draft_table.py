"""Look up draft tokens in the artifact's draft table: n-grams of the model's own text, in a memory-mapped file.

The file is optional. It holds a header of 16 bytes, then sorted little-endian entries of 8 bytes. From the highest bit,
an entry has 36 bits of a hash of the context (1 to 4 tokens), 4 bits of the chance that the guess is right, and 24 bits
of the guessed token. Every guess is verified as a draft, so wrong entries and hash collisions cannot change a response.
"""

import mmap
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from generation.model.artifact import ADVICE, DRAFTS, ArtifactConfig, ArtifactError

MAGIC = b"n-gram drafts 1\n"
ENTRY = 8
# Maximum size of the file, in bytes. The pages that are searched stay in memory.
LARGEST = 2_000_000
# Maximum number of tokens in a context. The longest known context is used.
ORDER = 4
TOKEN_BITS, CHANCE_BITS = 24, 4
KEY_SHIFT = TOKEN_BITS + CHANCE_BITS
LEVELS = 1 << CHANCE_BITS
# Odd, so that the product is different for every token; 2^64 divided by the golden ratio (Knuth, The Art of Computer
# Programming, volume 3, section 6.4).
FACTOR = 0x9E3779B97F4A7C15
WORD = (1 << 64) - 1
_TOKEN = (1 << TOKEN_BITS) - 1
_REST = (1 << KEY_SHIFT) - 1
_KEY = WORD - _REST
_CHANCES = tuple((level + 0.5) / LEVELS for level in range(LEVELS))


class DraftTable:
    """The draft table in the file `path`, for a model whose token ids are below `tokens`.

    Raises:
        ArtifactError: the file cannot be read, is too large, or is not a draft table.
    """

    def __init__(self, path: Path, tokens: int) -> None:
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path} cannot be read ({error}); {ADVICE}") from None
        size = len(self._map)
        if size > LARGEST or (size - len(MAGIC)) % ENTRY or self._map[: len(MAGIC)] != MAGIC:
            raise ArtifactError(f"{path} is not a draft table of at most {LARGEST:,} bytes; {ADVICE}")
        self._entries = memoryview(self._map)[len(MAGIC) :].cast("Q")
        self._tokens = tokens

    def __len__(self) -> int:
        """Return the number of contexts."""
        return len(self._entries)

    def guess(self, context: Sequence[int]) -> tuple[int, float] | None:
        """Return the likeliest token after the longest known suffix of `context`, and its chance; None if unknown.

        A lookup takes a few microseconds: at most `ORDER` binary searches. An entry whose token the model does not have
        is ignored.
        """
        entries, last = self._entries, len(self._entries)
        hashed, keys = 0, []
        for token in context[: -ORDER - 1 : -1]:
            hashed = (hashed ^ (hashed >> 31) ^ (token + 1)) * FACTOR & WORD
            keys.append(hashed & _KEY)
        for key in reversed(keys):
            place = bisect_left(entries, key)
            if place < last and (found := entries[place] - key) <= _REST:
                token = found & _TOKEN
                return (token, _CHANCES[found >> TOKEN_BITS]) if token < self._tokens else None
        return None


def open_drafts(folder: Path, config: ArtifactConfig) -> DraftTable | None:
    """Open the draft table of an artifact; return None if it has none.

    Raises:
        ArtifactError: ``config.json`` lists a table that cannot be read.
    """
    return DraftTable(folder / DRAFTS, config.tokens) if DRAFTS in config.files else None
