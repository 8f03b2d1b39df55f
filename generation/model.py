"""The model: one ONNX session and its KV cache. Prefill and decode; it knows no text, no requests and no queues.

This is the only module of the run time that imports onnxruntime. `generation/export/graph.py` writes the graph and
names its inputs and outputs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from generation.artifact import ArtifactConfig, ArtifactError
from generation.cache import KVCache
from generation.machine import has_exact_int8_products

Logits = NDArray[np.float32]


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """Load the serving graph for `threads` processors.

    Raises:
        ArtifactError: onnxruntime refuses the file.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not has_exact_int8_products():
        # Makes onnxruntime use its exact u8 x u8 kernels; elsewhere that would cost a fifth to two thirds of the speed.
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime's exception classes share no base but Exception.
        raise ArtifactError(f"onnxruntime cannot load {path}: {str(error).splitlines()[0]}") from error


class _Step:
    """Inputs and outputs of one shape, bound once: a step writes the numbers in and runs."""

    def __init__(self, model: "Model", row: int, rows: int, tokens: int, logits: Logits) -> None:
        wanted = len(logits)
        self.input_ids = np.zeros((rows, tokens), np.int64)
        self.position_ids = np.zeros((rows, tokens), np.int64)
        self.seqlens_k = np.zeros(rows, np.int32)
        self.total_sequence_length = np.zeros((), np.int32)
        self.logit_positions = np.zeros(wanted, np.int64)
        self.logits = logits
        self._run = model.session.run_with_iobinding
        self._binding = model.session.io_binding()
        for name in ("input_ids", "position_ids", "seqlens_k", "total_sequence_length", "logit_positions"):
            self._bind(self._binding.bind_input, name, getattr(self, name))
        self._bind(self._binding.bind_output, "logits", self.logits)
        cache = model.cache
        shape = [rows, *cache.data.shape[2:]]
        for entry in range(cache.data.shape[0]):
            name = f"{entry // 2}.{'value' if entry % 2 else 'key'}"
            address = cache.address(entry, row)
            # The same memory is past and present: the graph appends to it in place.
            self._binding.bind_input(f"past_key_values.{name}", "cpu", 0, np.float32, shape, address)
            self._binding.bind_output(f"present.{name}", "cpu", 0, np.float32, shape, address)

    @staticmethod
    def _bind(bind: Any, name: str, array: NDArray[Any]) -> None:
        bind(name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data)

    def run(self) -> Logits:
        """Run the graph; the result is valid until the next run of this step."""
        self._run(self._binding)
        return self.logits


class Model:
    """A loaded model with room for `batch` sequences that decode and `staging` prompts that are being prefilled."""

    def __init__(self, session: ort.InferenceSession, config: ArtifactConfig, *, batch: int, staging: int = 4) -> None:
        self.session = session
        self.config = config
        self.vocabulary = config.vocabulary
        self.context = config.context
        self.cache = KVCache(
            config.layers, config.heads, config.head_size, config.context, batch=batch, staging=staging
        )
        self._logits = np.zeros((batch, config.vocabulary), np.float32)
        self._decode: dict[int, _Step] = {}

    def prefill(self, row: int, ids: Sequence[int], start: int, wanted: Sequence[int]) -> Logits:
        """Compute the tokens `ids`, which follow `start` tokens already in the cache of `row`.

        Args:
            row: a row of the cache.
            ids: token ids, [S].
            start: tokens that the row holds already.
            wanted: indices into `ids` whose next-token logits are wanted, [W].

        Returns:
            Logits, [W, vocabulary]; valid until the next call.
        """
        # An empty selection would make an empty matrix product; one row is computed and dropped.
        positions = list(wanted) or [len(ids) - 1]
        fits = len(positions) <= len(self._logits)
        logits = self._logits if fits else np.zeros((len(positions), self.vocabulary), np.float32)
        step = _Step(self, row, 1, len(ids), logits[: len(positions)])
        step.input_ids[0] = ids
        step.position_ids[0] = np.arange(start, start + len(ids))
        step.seqlens_k[0] = start + len(ids) - 1
        step.total_sequence_length[()] = start + len(ids)
        step.logit_positions[:] = positions
        return step.run()[: len(wanted)]

    def decode(self, ids: Sequence[int], lengths: Sequence[int]) -> Logits:
        """Compute one token for each of the first ``len(ids)`` rows.

        Args:
            ids: the newest token of every row, [B].
            lengths: tokens that each row holds already, [B].

        Returns:
            Logits, [B, vocabulary]; valid until the next call.
        """
        rows = len(ids)
        step = self._decode.get(rows)
        if step is None:
            step = self._decode[rows] = _Step(self, 0, rows, 1, self._logits[:rows])
            step.logit_positions[:] = np.arange(rows)
        step.input_ids[:, 0] = ids
        step.position_ids[:, 0] = lengths
        step.seqlens_k[:] = lengths
        step.total_sequence_length[()] = max(lengths) + 1
        return step.run()
