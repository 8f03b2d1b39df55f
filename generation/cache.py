"""The KV cache: one fixed buffer, a row for every sequence, written in place by the graph.

Rows below `batch` decode together: a step for n sequences binds the first n rows, which lie side by side in memory. The
rows above are staging rows, in which prompts are prefilled before they join the batch. Memory is reserved once but only
touched where tokens are; a released row gives its pages back to the system.
"""

import contextlib
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]

_ADVISE = hasattr(mmap, "MADV_NOHUGEPAGE")  # Linux


def bytes_per_token(layers: int, heads: int, head_size: int) -> int:
    """Return the bytes that one token takes in the cache: a key and a value in every layer, as float32."""
    return 2 * layers * heads * head_size * 4


class KVCache:
    """Keys and values of every row: `data` is [2 * layers, rows, heads, context, head_size] float32.

    Entry ``2 * i`` of the first axis holds the keys of layer i, entry ``2 * i + 1`` its values.
    """

    def __init__(self, layers: int, heads: int, head_size: int, context: int, *, batch: int, staging: int) -> None:
        self.batch = batch
        self.staging = staging
        self.context = context
        shape = (2 * layers, batch + staging, heads, context, head_size)
        # Pages of a private mapping can be given back; those of a shared one, which is the default, cannot.
        flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if _ADVISE else {}
        self._map = mmap.mmap(-1, int(np.prod(shape)) * 4, **flags)
        if _ADVISE:
            # A huge page would back megabytes for the first token in it.
            with contextlib.suppress(OSError):
                self._map.madvise(mmap.MADV_NOHUGEPAGE)
        self.data: NDArray[np.float32] = np.frombuffer(self._map, dtype=np.float32).reshape(shape)

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of row `source` to row `target`."""
        self.data[:, target, :, :length] = self.data[:, source, :, :length]

    def release(self, row: int) -> None:
        """Give the memory of `row` back to the system; what was in it is lost."""
        if not _ADVISE:
            return
        size = self.data[0, 0].nbytes
        for entry in range(self.data.shape[0]):
            start = (entry * self.data.shape[1] + row) * size
            first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
            last = (start + size) // mmap.PAGESIZE * mmap.PAGESIZE
            if last > first:
                self._map.madvise(mmap.MADV_DONTNEED, first, last - first)

    def read(self, row: int, start: int, stop: int) -> Block:
        """Return a copy of tokens `start` to `stop` of `row`: [2 * layers, heads, stop - start, head_size]."""
        return self.data[:, row, :, start:stop].copy()

    def write(self, row: int, start: int, block: Block) -> None:
        """Put what `read` returned into `row` from token `start` on."""
        self.data[:, row, :, start : start + block.shape[2]] = block

    def address(self, entry: int, row: int) -> int:
        """Return the memory address at which `row` of `entry` begins."""
        view: Any = self.data[entry, row]
        return int(view.ctypes.data)
