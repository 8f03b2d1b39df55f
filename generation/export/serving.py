"""Run a serving graph the way the run time does: bound buffers, prefill in chunks, decoding in ragged batches.

It knows just enough to verify an artifact. The run time has a model of its own; neither wing imports the other.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from generation.export.graph import Shape

CHUNK = 128
Cache = list[NDArray[np.float32]]


class Serving:
    """A session on the graph at `path`."""

    def __init__(self, path: Path, shape: Shape) -> None:
        options = onnxruntime.SessionOptions()
        # Exact integer products on CPUs without VNNI too, where u8 by s8 would saturate.
        options.add_session_config_entry("session.x64quantprecision", "1")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._shape = shape

    def cache(self, rows: int) -> Cache:
        """Return an empty cache: key and value of each layer, float32 [rows, H, context, D]."""
        size = (rows, self._shape.heads, self._shape.context, self._shape.head_size)
        return [np.zeros(size, np.float32) for _ in range(2 * self._shape.layers)]

    def step(
        self, cache: Cache, ids: NDArray[np.int64], lengths: Sequence[int], wanted: Sequence[int]
    ) -> NDArray[np.float32]:
        """Put `ids` [B, S] behind the `lengths` tokens that each row has in the cache; return logits [W, V].

        `wanted` counts row by row through [B, S]. More than one new token on a cache in use needs B = 1: a limit of the
        attention operator on CPU.
        """
        before = np.array(lengths, np.int64)
        after = before + ids.shape[1]
        feeds = {
            "input_ids": ids,
            "position_ids": before[:, None] + np.arange(ids.shape[1]),
            "seqlens_k": (after - 1).astype(np.int32),
            "total_sequence_length": np.array(after.max(), np.int32),
            "logit_positions": np.array(wanted, np.int64),
        }
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        logits = np.empty((len(wanted), self._shape.vocabulary), np.float32)
        binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        for i, buffer in enumerate(cache):
            slot = f"{i // 2}.{('key', 'value')[i % 2]}"
            place = ("cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
            binding.bind_input(f"past_key_values.{slot}", *place)
            binding.bind_output(f"present.{slot}", *place)
        self._session.run_with_iobinding(binding)
        return logits

    def prefill(self, cache: Cache, ids: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        """Fill a cache of one row from the start; yield the logits [up to CHUNK, V] of every token, chunk by chunk."""
        for start in range(0, len(ids), CHUNK):
            chunk = np.array([ids[start : start + CHUNK]], np.int64)
            yield self.step(cache, chunk, [start], range(chunk.shape[1]))

    def decode(self, cache: Cache, ids: Sequence[int], lengths: Sequence[int]) -> NDArray[np.float32]:
        """One token for every row; return logits [B, V]."""
        return self.step(cache, np.array(ids, np.int64)[:, None], lengths, range(len(ids)))
