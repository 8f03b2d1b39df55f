"""The embedding table, mapped into memory from the file of weights, which begins with it.

Of its 50,257 rows a step looks up a few. Around each, the system would map up to half a megabyte of the file, so that
soon all of the table were resident, 37 MiB in int8. So the pages of rows that are needed are fetched one by one, and
let go when they are many.
"""

import mmap
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from generation.model.artifact import ADVICE, ArtifactConfig, ArtifactError

# Type of the table's elements, and how many weights are in one, by precision.
ELEMENTS = {"fp32": ("float32", 1), "int8": ("int8", 1), "int8-blocks": ("uint8", 1), "int4": ("uint8", 2)}
# Pages to hold at most: 2 MiB. To fetch one takes 5 to 25 microseconds.
KEPT = (2 << 20) // mmap.PAGESIZE
# Linux 5.14 and later: copies a page of a private mapping, and nothing around it. Python has no name for it.
_POPULATE_WRITE = 23


class EmbeddingTable:
    """The table in the file `weights`: `data` is [vocabulary, width], or half as wide where two weights are in one.

    Raises:
        ArtifactError: the file does not hold it.
    """

    def __init__(self, weights: Path, config: ArtifactConfig) -> None:
        try:
            kind, weights_in_one = ELEMENTS[config.precision]
            shape = config.vocabulary, config.heads * config.head_size // weights_in_one
            self._row = shape[1] * np.dtype(kind).itemsize
            with weights.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), shape[0] * self._row, access=mmap.ACCESS_COPY)
            self.data = np.frombuffer(self._map, kind, shape[0] * shape[1]).reshape(shape)
        except KeyError:
            message = f"config.json: precision {config.precision!r} is not one of {', '.join(ELEMENTS)}; {ADVICE}"
            raise ArtifactError(message) from None
        except (OSError, OverflowError, ValueError) as error:
            raise ArtifactError(
                f"{weights} does not begin with the embedding table of config.json ({error}): they belong to different "
                f"models; {ADVICE}"
            ) from None
        self._fetched: set[int] = set()
        self._can_fetch = sys.platform == "linux"

    def fetch(self, ids: Iterable[int]) -> None:
        """Bring the rows of tokens that are about to be looked up into memory, and with them little else."""
        if not self._can_fetch:
            return
        if len(self._fetched) >= KEPT:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._fetched.clear()
        for token in ids:
            first, last = token * self._row // mmap.PAGESIZE, ((token + 1) * self._row - 1) // mmap.PAGESIZE
            for page in range(first, last + 1):
                if page not in self._fetched:
                    self._fetch(page)

    def _fetch(self, page: int) -> None:
        self._fetched.add(page)
        try:
            self._map.madvise(_POPULATE_WRITE, page * mmap.PAGESIZE, mmap.PAGESIZE)
        except OSError:  # an older kernel, which brings in what it likes when the row is looked up
            self._can_fetch = False
