"""Inputs and outputs of the serving graph, bound once per shape, so that a step only fills in numbers and runs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from generation.engine.interface import Logits
from generation.model.artifact import ArtifactConfig
from generation.model.cache import KVCache
from generation.model.embedding import EmbeddingTable
from generation.model.session import BATCH, SCALED, SCALES, STAGING

# Products with weights in blocks compute rows in pairs and round an unpaired row differently, so steps are padded to an
# even number of rows. In a precision, either all products are in blocks or only the head.
PAIRED, PAIRED_HEAD = ("int4",), ("int4", "int8-blocks")


class Workspace:
    """State shared by all steps: the session, the cache, the embedding table and the memory for logits."""

    def __init__(
        self, session: ort.InferenceSession, config: ArtifactConfig, cache: KVCache, table: EmbeddingTable | None
    ) -> None:
        self.session = session
        self.cache = cache
        self.table = table
        self.scaled = config.precision == SCALED
        self.idle = (np.zeros((1, 1), np.int64), np.zeros(1, np.int32), np.zeros(1, np.int32))
        self._vocabulary = config.vocabulary
        self._tokens_paired = config.precision in PAIRED
        self._logits_paired = config.precision in PAIRED_HEAD
        self._logits = np.zeros((self.padded_logits(cache.batch), config.vocabulary), np.float32)

    def padded_tokens(self, count: int) -> int:
        """Return the number of tokens that the products compute for `count` tokens."""
        return count + count % 2 if self._tokens_paired else count

    def padded_logits(self, count: int) -> int:
        """Return the number of rows that the head computes for `count` rows."""
        return count + count % 2 if self._logits_paired else count

    def logits(self, count: int) -> Logits:
        """Return memory for logits, [count, vocabulary]; shared by all steps unless `count` is too large."""
        if count <= len(self._logits):
            return self._logits[:count]
        return np.zeros((count, self._vocabulary), np.float32)


class Step:
    """Bound inputs and outputs for steps of one shape.

    A step computes tokens in contiguous rows of one part of the cache, the batch or the staging rows. The other part
    gets one row without tokens. Padding comes after the real tokens and logits.

    Args:
        work: state shared by all steps.
        row: first row of the step.
        slots: number of rows, and maximum number of tokens in a row.
        count: number of tokens in all rows.
        wanted: number of tokens whose logits are computed.

    Attributes:
        input_ids: token ids, [count]; fill in before `run`, like the following.
        position_ids: position of each token in its sequence, [count].
        seqlens_k: index of the last token of each row after the step, [rows].
        logit_positions: indices of the tokens whose logits are computed, [wanted].
    """

    def __init__(self, work: Workspace, row: int, slots: tuple[int, int], count: int, wanted: int) -> None:
        rows, _ = slots
        tokens, logits = work.padded_tokens(count), work.logits(work.padded_logits(wanted))
        lengths = {"input_ids": tokens, "position_ids": tokens, "places": tokens, "logit_positions": len(logits)}
        flat = {name: np.zeros(length, np.int64) for name, length in lengths.items()}
        self.input_ids, self.position_ids, self._places = (
            flat[name][:count] for name in ("input_ids", "position_ids", "places")
        )
        self.logit_positions = flat["logit_positions"][:wanted]
        self._ids = flat["input_ids"]
        self._slots = np.zeros(slots, np.int64)
        self._counts = np.zeros(rows, np.int32)
        self.seqlens_k = np.zeros(rows, np.int32)
        self._logits = logits[:wanted]
        scales = np.ones((len(logits), 1), np.float32)
        self._scales = scales[:wanted] if work.scaled else None
        self._table = work.table
        self._run = work.session.run_with_iobinding
        self._binding = work.session.io_binding()
        batch = work.cache.batch
        part, idle, idle_row = (BATCH, STAGING, batch) if row < batch else (STAGING, BATCH, 0)
        # The graph numbers the slots of the staging part first, and a part without tokens has one slot.
        self._first = 1 if part == BATCH else 0
        bind_input, bind_output = self._binding.bind_input, self._binding.bind_output
        for name, array in flat.items():
            _bind(bind_input, name, array)
        _bind(bind_output, "logits", logits)
        if self._scales is not None:
            _bind(bind_output, SCALES, scales)
        arrays: dict[str, tuple[NDArray[Any], ...]] = {
            part: (self._slots, self._counts, self.seqlens_k),
            idle: work.idle,
        }
        views = {part: work.cache.view(row, rows), idle: work.cache.view(idle_row)}
        for one in (part, idle):
            for name, array in zip(("slots", "counts", "seqlens_k"), arrays[one], strict=True):
                _bind(bind_input, f"{one}_{name}", array)
            for entry, buffer in enumerate(views[one]):
                name = f"{entry // 2}.{'value' if entry % 2 else 'key'}"
                # Past and present are the same memory, because the graph appends in place.
                _bind(bind_input, f"{one}.past.{name}", buffer)
                _bind(bind_output, f"{one}.present.{name}", buffer)

    def lay_out(self, counts: Sequence[int]) -> None:
        """Assign the tokens to rows in order: ``counts[i]`` tokens to row i."""
        real = np.arange(self._slots.shape[1]) < np.asarray(counts)[:, None]
        self._counts[:] = counts
        self._slots[real] = np.arange(len(self._places))
        self._places[:] = np.flatnonzero(real) + self._first

    def run(self, options: ort.RunOptions | None = None) -> Logits:
        """Run the graph; return logits of shape [wanted, vocabulary], valid until the next step."""
        if self._table is not None:
            self._table.fetch(self._ids.tolist())
        self._run(self._binding, options)
        if self._scales is not None:
            np.multiply(self._logits, self._scales, out=self._logits)
        return self._logits


def _bind(bind: Any, name: str, array: NDArray[Any]) -> None:
    bind(name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data)
