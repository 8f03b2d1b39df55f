"""The embedding table, memory-mapped from the start of the weights file, with few pages resident.

A step looks up a few of 50,257 rows. On each page fault the kernel may map up to half a megabyte around it, so the
whole table, 37 MiB in int8, would soon be resident. This module therefore fetches the pages of the needed rows one by
one, and drops all of them once there are many.
"""

import mmap
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from generation.model.artifact import ADVICE, ArtifactConfig, ArtifactError

# By precision: type of the table's elements, and number of weights in an element.
ELEMENTS = {"fp32": ("float32", 1), "int8": ("int8", 1), "int8-blocks": ("uint8", 1), "int4": ("uint8", 2)}
# Maximum number of resident pages: 2 MiB. Fetching a page takes 5 to 25 microseconds.
KEPT = (2 << 20) // mmap.PAGESIZE
# MADV_POPULATE_WRITE of Linux 5.14 and later copies exactly the given pages of a private mapping. Python's mmap module
# does not define it.
_POPULATE_WRITE = 23


class EmbeddingTable:
    """The embedding table at the start of the file `weights`.

    Attributes:
        data: shape [vocabulary, width], or [vocabulary, width / 2] if an element holds two weights.

    Raises:
        ArtifactError: the precision is unknown, or the file cannot hold the table.
    """

    def __init__(self, weights: Path, config: ArtifactConfig) -> None:
        try:
            kind, weights_in_one = ELEMENTS[config.precision]
            shape = config.vocabulary, config.width // weights_in_one
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
        """Make the rows of the tokens `ids` resident before the graph looks them up."""
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
        except OSError:  # an older kernel: leave it to page faults
            self._can_fetch = False
