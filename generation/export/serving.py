"""Run a serving graph the way the run time does: bound buffers, prefill in chunks, decoding in ragged batches.

It knows just enough to verify an artifact. The run time has a model of its own; neither wing imports the other.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from generation.export.attention import BATCH, STAGING
from generation.export.defaults import CacheType
from generation.export.graph import Shape
from generation.export.products import LOGIT_SCALES

CHUNK = 128
Cache = list[NDArray[Any]]


class Serving:
    """A session on the graph at `path`, whose batch holds keys and values of the type `cache`."""

    def __init__(self, path: Path, shape: Shape, cache: CacheType) -> None:
        options = onnxruntime.SessionOptions()
        # Exact integer products on CPUs without VNNI too, where u8 by s8 would saturate.
        options.add_session_config_entry("session.x64quantprecision", "1")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._shape = shape
        self._scaled = any(one.name == LOGIT_SCALES for one in self._session.get_outputs())
        self._types = {STAGING: np.float32, BATCH: np.float32 if cache == "float32" else np.int8}
        self._idle = {part: self._empty(part, 1) for part in (STAGING, BATCH)}

    def _empty(self, part: str, rows: int) -> Cache:
        # A chunk is padded at the end: there must be room for that.
        size = (rows, self._shape.heads, self._shape.context + CHUNK, self._shape.head_size)
        return [np.zeros(size, self._types[part]) for _ in range(2 * self._shape.layers)]

    def staging(self, rows: int = 1) -> Cache:
        """Return an empty staging cache: key and value of each layer, float32 [rows, H, context + CHUNK, D]."""
        return self._empty(STAGING, rows)

    def batch(self, rows: int) -> Cache:
        """Return an empty cache of the batch, of the same shape."""
        return self._empty(BATCH, rows)

    def join(self, staging: Cache, batch: Cache, row: int) -> None:
        """Put the only row of a staging cache into a row of the batch."""
        for source, target in zip(staging, batch, strict=True):
            whole = target.dtype == np.int8
            target[row] = np.clip(np.rint(source[0]), -127, 127) if whole else source[0]

    def step(
        self, part: str, cache: Cache, ids: Sequence[Sequence[int]], lengths: Sequence[int], wanted: Sequence[int]
    ) -> NDArray[np.float32]:
        """Put `ids`, some for each row, behind the `lengths` tokens that each row has in `cache`; return logits [W, V].

        `wanted` counts row by row through `ids`.
        """
        counts = np.array([len(row) for row in ids], np.int32)
        positions = [n + place for n, row in zip(lengths, ids, strict=True) for place in range(len(row))]
        before = np.array(lengths, np.int32)
        slots = np.zeros((len(ids), counts.max()), np.int64)
        real = np.arange(counts.max()) < counts[:, None]
        slots[real] = np.arange(counts.sum())
        idle = {STAGING: BATCH, BATCH: STAGING}[part]
        feeds = {
            "input_ids": _even([token for row in ids for token in row]),
            "position_ids": _even(positions),
            "logit_positions": _even(wanted),
            # Staging slots come first; an idle part has one.
            "places": _even(np.flatnonzero(real) + (part == BATCH)),
            f"{part}_slots": slots,
            f"{part}_counts": counts,
            f"{part}_seqlens_k": before + counts - 1,
            f"{idle}_slots": np.zeros((1, 1), np.int64),
            f"{idle}_counts": np.zeros(1, np.int32),
            f"{idle}_seqlens_k": np.zeros(1, np.int32),
        }
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        logits = np.empty((len(feeds["logit_positions"]), self._shape.vocabulary), np.float32)
        scales = np.ones((len(logits), 1), np.float32)
        outputs = {"logits": logits, LOGIT_SCALES: scales} if self._scaled else {"logits": logits}
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        for name, buffers in ((part, cache), (idle, self._idle[idle])):
            for i, buffer in enumerate(buffers):
                kind = f"{i // 2}.{('key', 'value')[i % 2]}"
                place = ("cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)
                binding.bind_input(f"{name}.past.{kind}", *place)
                binding.bind_output(f"{name}.present.{kind}", *place)
        self._session.run_with_iobinding(binding)
        logits *= scales
        return logits[: len(wanted)]

    def prefill(self, cache: Cache, ids: Sequence[int], part: str = STAGING) -> Iterator[NDArray[np.float32]]:
        """Fill a cache of one row from the start; yield the logits [up to CHUNK, V] of every token, chunk by chunk."""
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            yield self.step(part, cache, [chunk], [start], range(len(chunk)))

    def decode(self, cache: Cache, ids: Sequence[int], lengths: Sequence[int]) -> NDArray[np.float32]:
        """One token for every row of the batch; return logits [B, V]."""
        return self.step(BATCH, cache, [[token] for token in ids], lengths, range(len(ids)))


def _even(numbers: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers with a 0 behind them if they are odd in number, because int4 computes rows in pairs."""
    return np.pad(np.array(numbers, np.int64), (0, len(numbers) % 2))
