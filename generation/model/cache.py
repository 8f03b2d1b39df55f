"""The KV cache: buffers of fixed size, a row for every sequence, which the graph writes in place.

Rows below `batch` belong to the batch, where sequences decode: a step for n sequences binds the first n rows, which lie
side by side in memory. The rows above are staging rows, in which prompts are prefilled before they join the batch. The
batch holds keys and values as the artifact says, float32 or int8; staging rows hold float32. Memory is reserved once
but only touched where tokens are; a released row gives its pages back to the system, but for the first of the batch.
"""

import contextlib
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generation.engine.interface import Block

Buffer = NDArray[Any]

# The least that int8 holds would have no counterpart.
LARGEST = 127
# Of every head of a row of the batch these bytes stay when it is released: 128 tokens of 64 elements in int8. Getting
# them again would cost the next sequence there a page fault for each page.
KEPT = 2 * mmap.PAGESIZE
_ADVISE = hasattr(mmap, "MADV_NOHUGEPAGE")  # Linux


def bytes_per_token(layers: int, heads: int, head_size: int, dtype: str) -> int:
    """Return the bytes that one token takes in a cache of `dtype`: a key and a value in every layer."""
    return 2 * layers * heads * head_size * np.dtype(dtype).itemsize


def bytes_around(layers: int, heads: int, *, batch: int, staging: int) -> int:
    """Return the most memory that rows take besides their tokens.

    Memory comes in pages: the tokens of every head may begin and end in one that they fill only in part. Rows of the
    batch that are free keep their first bytes, which may begin and end in one, too.
    """
    pages = 2 * (batch + staging) * mmap.PAGESIZE
    return 2 * layers * heads * (pages + batch * (KEPT - mmap.PAGESIZE))


class _Rows:
    """One buffer: `data` is [2 * layers, rows, heads, M, head_size].

    Entry ``2 * i`` of the first axis holds the keys of layer i, entry ``2 * i + 1`` its values. Of every head `kept`
    bytes stay when a row is released.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str, kept: int) -> None:
        self._kept = kept
        kind = np.dtype(dtype)
        # Pages of a private mapping can be given back; those of a shared one, which is the default, cannot.
        flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if _ADVISE else {}
        self._map = mmap.mmap(-1, max(1, int(np.prod(shape)) * kind.itemsize), **flags)
        if _ADVISE:
            # A huge page would back megabytes for the first token in it.
            with contextlib.suppress(OSError):
                self._map.madvise(mmap.MADV_NOHUGEPAGE)
        self.data: Buffer = np.frombuffer(self._map, dtype=kind, count=int(np.prod(shape))).reshape(shape)

    def release(self, row: int) -> None:
        if not _ADVISE:
            return
        entries, rows, heads, *_ = self.data.shape
        # Where nothing stays, the heads of a row are one piece.
        pieces = heads if self._kept else 1
        size = self.data[0, 0].nbytes // pieces
        for entry in range(entries):
            for piece in range(pieces):
                start = ((entry * rows + row) * pieces + piece) * size
                first = -(-(start + self._kept) // mmap.PAGESIZE) * mmap.PAGESIZE
                last = (start + size) // mmap.PAGESIZE * mmap.PAGESIZE
                if last > first:
                    self._map.madvise(mmap.MADV_DONTNEED, first, last - first)


class KVCache:
    """Keys and values of every row: `batch` rows of `dtype`, and `staging` rows of float32 numbered after them.

    A row has M places: `context` tokens, and `spare` more, because a row that takes fewer tokens in a step than another
    is padded.
    """

    def __init__(
        self,
        layers: int,
        heads: int,
        head_size: int,
        context: int,
        *,
        batch: int,
        staging: int,
        dtype: str,
        spare: int,
    ) -> None:
        self.batch = batch
        self._batch = _Rows((2 * layers, batch, heads, context + spare, head_size), dtype, KEPT)
        self._staging = _Rows((2 * layers, staging, heads, context + spare, head_size), "float32", 0)

    def _find(self, row: int) -> tuple[_Rows, int]:
        return (self._batch, row) if row < self.batch else (self._staging, row - self.batch)

    def view(self, row: int, rows: int = 1) -> Buffer:
        """Return `rows` rows from `row` on, all of one kind: [2 * layers, rows, heads, M, head_size]."""
        buffer, first = self._find(row)
        return buffer.data[:, first : first + rows]

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of row `source` to row `target`, rounded where the target holds int8."""
        old, new = self.view(source)[:, 0, :, :length], self.view(target)[:, 0, :, :length]
        if old.dtype == new.dtype:
            new[:] = old
            return
        for part, whole in zip(old, new, strict=True):  # a layer at a time stays in the processor's cache
            whole[:] = np.clip(np.rint(part), -LARGEST, LARGEST)

    def release(self, row: int) -> None:
        """Give the memory of `row` back to the system, all or nearly all; what was in it is lost."""
        buffer, place = self._find(row)
        buffer.release(place)

    def read(self, row: int, start: int, stop: int) -> Block:
        """Return a copy of tokens `start` to `stop` of a staging row: [2 * layers, heads, stop - start, head_size]."""
        return self.view(row)[:, 0, :, start:stop].copy()

    def write(self, row: int, start: int, block: Block) -> None:
        """Put what `read` returned into a staging row from token `start` on."""
        self.view(row)[:, 0, :, start : start + block.shape[2]] = block
