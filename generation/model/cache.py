"""The KV cache: preallocated buffers with one row per sequence, which the graph updates in place.

The first `batch` rows are the batch, in which sequences decode. They are contiguous, so a step for n sequences binds
the first n rows. The rows after them are staging rows, in which prompts are prefilled before they join the batch. The
batch holds keys and values in the type that the artifact chooses, float32 or int8; staging rows hold float32. Address
space is reserved once, but a page takes memory only once a token is written to it. Releasing a row returns its pages
to the operating system, except the first pages of batch rows.
"""

import contextlib
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generation.engine.interface import Block

Buffer = NDArray[Any]

# Largest quantized value. The range is symmetric: -128 has no positive twin.
LARGEST = 127
# Bytes of every head of a batch row that a release keeps: 128 tokens of 64 elements in int8. Without them, the next
# sequence in the row would pay a page fault for each page.
KEPT = 2 * mmap.PAGESIZE
_ADVISE = hasattr(mmap, "MADV_NOHUGEPAGE")  # Linux


def bytes_per_token(layers: int, heads: int, head_size: int, dtype: str) -> int:
    """Return the bytes of one token in a cache of type `dtype`: a key and a value in every layer."""
    return 2 * layers * heads * head_size * np.dtype(dtype).itemsize


def bytes_around(layers: int, heads: int, *, batch: int, staging: int) -> int:
    """Return the maximum overhead of the rows in bytes, beyond the memory of their tokens.

    The tokens of every head may begin and end in a page that they fill only partly. Free batch rows keep `KEPT` bytes
    per head, which may also begin and end within a page.
    """
    pages = 2 * (batch + staging) * mmap.PAGESIZE
    return 2 * layers * heads * (pages + batch * (KEPT - mmap.PAGESIZE))


class _Rows:
    """The rows of one type in one memory mapping.

    Attributes:
        data: shape [2 * layers, rows, heads, M, head_size]. Entry ``2 * i`` of the first axis holds the keys of layer
            i, entry ``2 * i + 1`` its values. M is the number of positions in a row.

    Args:
        shape: shape of `data`.
        dtype: type of `data`.
        kept: bytes of every head that releasing a row keeps.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str, kept: int) -> None:
        self._kept = kept
        kind = np.dtype(dtype)
        # MADV_DONTNEED frees the pages of a private mapping, but not those of a shared one, mmap's default.
        flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if _ADVISE else {}
        self._map = mmap.mmap(-1, max(1, int(np.prod(shape)) * kind.itemsize), **flags)
        if _ADVISE:
            # A huge page would take megabytes for the first token in it.
            with contextlib.suppress(OSError):
                self._map.madvise(mmap.MADV_NOHUGEPAGE)
        self.data: Buffer = np.frombuffer(self._map, dtype=kind, count=int(np.prod(shape))).reshape(shape)

    def release(self, row: int) -> None:
        if not _ADVISE:
            return
        entries, rows, heads, *_ = self.data.shape
        # If nothing is kept, all heads of a row are released in one piece.
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
    """Keys and values of all rows: `batch` rows of type `dtype`, then `staging` rows of float32.

    A row has M positions: `context` for tokens, and `spare` for the padding of a step in which other rows take more
    tokens.
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
        """Return a view of `rows` rows of one type from `row` on: [2 * layers, rows, heads, M, head_size]."""
        buffer, first = self._find(row)
        return buffer.data[:, first : first + rows]

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of row `source` to row `target`; float32 is rounded to int8 if necessary."""
        old, new = self.view(source)[:, 0, :, :length], self.view(target)[:, 0, :, :length]
        if old.dtype == new.dtype:
            new[:] = old
            return
        for part, whole in zip(old, new, strict=True):  # one layer at a time fits into the processor's cache
            whole[:] = np.clip(np.rint(part), -LARGEST, LARGEST)

    def release(self, row: int) -> None:
        """Return the memory of `row` to the operating system, except `KEPT` bytes per head of a batch row."""
        buffer, place = self._find(row)
        buffer.release(place)

    def read(self, row: int, start: int, stop: int) -> Block:
        """Return a copy of tokens `start` to `stop` of a staging row: [2 * layers, heads, stop - start, head_size]."""
        return self.view(row)[:, 0, :, start:stop].copy()

    def write(self, row: int, start: int, block: Block) -> None:
        """Write a block that `read` returned to a staging row, from token `start` on."""
        self.view(row)[:, 0, :, start : start + block.shape[2]] = block
