"""The model: one ONNX session and its KV cache. Prefill and decode; it knows no text, no requests and no queues.

This is the only module of the run time that imports onnxruntime. `generation/export/graph.py` writes the graph and
names its inputs and outputs.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from generation.engine.interface import Chunk, Logits
from generation.model.artifact import ADVICE, ArtifactConfig, ArtifactError
from generation.model.cache import KVCache
from generation.model.embedding import EmbeddingTable
from generation.model.machine import has_exact_int8_products

STAGING, BATCH = "staging", "batch"
# Attention has another kernel for a single token, and its last bits differ from those of several.
LEAST_SLOTS = 2
# Products with 4-bit weights compute rows in pairs, and an odd one, without a partner, is rounded differently.
PAIRED = "int4"
# The graph gives these logits without the scales of their rows, and the scales beside them.
SCALED, SCALES = "int8", "logit_scales"
# What the graph calls the embedding table.
TABLE = "transformer.wte.weight"
# Shapes of a step that stay bound.
MAX_STEPS = 128


def open_session(path: Path, threads: int, table: EmbeddingTable | None = None) -> ort.InferenceSession:
    """Load the serving graph for `threads` processors.

    A `table` of our own lives as long as the session. It is to be given to the `Model` too, which has its rows fetched.

    Raises:
        ArtifactError: onnxruntime refuses the file.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # It would keep a plan for every shape of prompts for ever, and a block of megabytes to go with it.
    options.enable_mem_pattern = False
    _register_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    if not has_exact_int8_products():
        # Makes onnxruntime use its exact u8 x u8 kernels; elsewhere that would cost a fifth to two thirds of the speed.
        options.add_session_config_entry("session.x64quantprecision", "1")
    shared = None
    if table is not None:
        # Else onnxruntime would map it itself.
        shared = ort.OrtValue.ortvalue_from_numpy(table.data)
        options.add_initializer(TABLE, shared)
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime's exception classes share no base but Exception.
        raise ArtifactError(f"onnxruntime cannot load {path}: {str(error).splitlines()[0]}") from error
    # onnxruntime does not keep what it reads there alive.
    session.reads = (table, shared)
    return session


@cache
def _register_arena() -> None:
    """Let the arena of all sessions grow by what is asked of it: it can give back only what it got in one piece."""
    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, ort.OrtArenaCfg({"arena_extend_strategy": 1}))


def check_graph(session: ort.InferenceSession, config: ArtifactConfig) -> None:
    """Compare the caches and logits of the graph with what is in ``config.json``.

    The cache is bound by address: where the two disagree, the graph would write past the end of it.

    Raises:
        ArtifactError: they are not of one model.
    """
    element = {"float32": "float", "int8": "int8"}.get(config.cache)
    wanted: dict[str, tuple[str, list[Any]]] = {}
    for part, kind in ((STAGING, "float"), (BATCH, element)):
        for layer in range(config.layers):
            for entry in ("key", "value"):
                name = f"{part}.past.{layer}.{entry}"
                wanted[name] = (f"tensor({kind})", [config.heads, config.head_size])
    found = {
        one.name: (one.type, [size for size in one.shape if isinstance(size, int)])
        for one in session.get_inputs()
        if ".past." in one.name
    }
    outputs = session.get_outputs()
    scaled = any(one.name == SCALES for one in outputs)
    if found != wanted or outputs[0].shape[-1] != config.vocabulary or scaled != (config.precision == SCALED):
        raise ArtifactError(f"model.onnx and config.json belong to different models; {ADVICE}")


class _Step:
    """Inputs and outputs of one shape, bound once: a step writes the numbers in and runs.

    It computes `count` tokens in rows of one part of the cache, from `row` on, and logits for `wanted` of them; the
    other part gets one idle row. Tokens and logits that only complete a pair lie after the real ones.
    """

    def __init__(self, model: "Model", row: int, slots: tuple[int, int], count: int, wanted: int) -> None:
        rows, _ = slots
        tokens, logits = model.padded(count), model.logits(model.padded(wanted))
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
        self._scales = scales[:wanted] if model.config.precision == SCALED else None
        self._table = model.table
        self._run = model.session.run_with_iobinding
        self._binding = model.session.io_binding()
        batch = model.cache.batch
        part, idle, idle_row = (BATCH, STAGING, batch) if row < batch else (STAGING, BATCH, 0)
        # Staging slots are counted first, and an idle part has one.
        self._first = 1 if part == BATCH else 0
        bind_input, bind_output = self._binding.bind_input, self._binding.bind_output
        for name, array in flat.items():
            _bind(bind_input, name, array)
        _bind(bind_output, "logits", logits)
        if self._scales is not None:
            _bind(bind_output, SCALES, scales)
        arrays: dict[str, tuple[NDArray[Any], ...]] = {
            part: (self._slots, self._counts, self.seqlens_k),
            idle: model.idle,
        }
        views = {part: model.cache.view(row, rows), idle: model.cache.view(idle_row)}
        for one in (part, idle):
            for name, array in zip(("slots", "counts", "seqlens_k"), arrays[one], strict=True):
                _bind(bind_input, f"{one}_{name}", array)
            for entry, buffer in enumerate(views[one]):
                name = f"{entry // 2}.{'value' if entry % 2 else 'key'}"
                # The same memory is past and present: the graph appends to it in place.
                _bind(bind_input, f"{one}.past.{name}", buffer)
                _bind(bind_output, f"{one}.present.{name}", buffer)

    def lay_out(self, counts: Sequence[int]) -> None:
        """Say how many of the tokens belong to each row."""
        real = np.arange(self._slots.shape[1]) < np.asarray(counts)[:, None]
        self._counts[:] = counts
        self._slots[real] = np.arange(len(self._places))
        self._places[:] = np.flatnonzero(real) + self._first

    def run(self, options: ort.RunOptions | None = None) -> Logits:
        """Run the graph; the result is valid until the next run of this step."""
        if self._table is not None:
            self._table.fetch(self._ids.tolist())
        self._run(self._binding, options)
        if self._scales is not None:
            np.multiply(self._logits, self._scales, out=self._logits)
        return self._logits


def _bind(bind: Any, name: str, array: NDArray[Any]) -> None:
    bind(name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data)


class Model:
    """A loaded model with room for `batch` sequences that decode and `staging` prompts that are being prefilled.

    A step takes at most `chunk` tokens of a prompt. The `table` is the one that the session was opened with, if any.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        config: ArtifactConfig,
        *,
        batch: int,
        staging: int = 4,
        chunk: int = 128,
        table: EmbeddingTable | None = None,
    ) -> None:
        self.session = session
        self.table = table
        self.config = config
        self.vocabulary = config.vocabulary
        self.context = config.context
        self.cache = KVCache(
            config.layers,
            config.heads,
            config.head_size,
            config.context,
            batch=batch,
            staging=staging,
            dtype=config.cache,
            spare=max(chunk, batch),
        )
        self.idle = (np.zeros((1, 1), np.int64), np.zeros(1, np.int32), np.zeros(1, np.int32))
        self._pair = 2 if config.precision == PAIRED else 1
        self._logits = np.zeros((self.padded(batch), config.vocabulary), np.float32)
        self._steps: dict[tuple[int, int, int], _Step] = {}

    def padded(self, count: int) -> int:
        """Return for how many rows the products are computed where `count` are asked for."""
        return -(-count // self._pair) * self._pair

    def logits(self, count: int) -> Logits:
        """Return a place for so many logits, [count, vocabulary]: the same memory every time, if it is large enough."""
        return self._logits[:count] if count <= len(self._logits) else np.zeros((count, self.vocabulary), np.float32)

    def check_context(self) -> None:
        """Take a step at the last position: where the graph's positions end, its inputs do not tell.

        After it, onnxruntime gives back the memory that only loading needed.

        Raises:
            ArtifactError: the context in ``config.json`` is not the graph's.
        """
        step = _Step(self, 0, (1, 1), 1, 1)
        step.lay_out([1])
        step.position_ids[:] = self.context - 1
        shrink = ort.RunOptions()
        shrink.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            step.run(shrink)
        except Exception as error:
            # onnxruntime's exception classes share no base but Exception.
            raise ArtifactError(
                f"model.onnx cannot compute the last token of a context of {self.context} tokens, which config.json "
                f"promises: they belong to different models; {ADVICE}"
            ) from error
        self.cache.release(0)

    def prefill(self, chunks: Sequence[Chunk]) -> Logits:
        """Compute a part of one prompt or of several, which lie in different staging rows of the cache.

        Returns:
            The logits that the chunks want, chunk by chunk, [W, vocabulary]; valid until the next call.
        """
        ordered = sorted(chunks, key=lambda chunk: chunk.row)
        first = ordered[0].row
        # Rows between those in use are idle.
        counts = [0] * (ordered[-1].row + 1 - first)
        offsets: dict[int, int] = {}
        for chunk in ordered:
            offsets[chunk.row] = sum(counts)
            counts[chunk.row - first] = len(chunk.ids)
        wanted = [offsets[chunk.row] + place for chunk in chunks for place in range(chunk.wanted, len(chunk.ids))]
        slots = (len(counts), max(LEAST_SLOTS, *counts))
        step = _Step(self, first, slots, sum(counts), len(wanted))
        step.lay_out(counts)
        step.input_ids[:] = [token for chunk in ordered for token in chunk.ids]
        step.position_ids[:] = [chunk.start + place for chunk in ordered for place in range(len(chunk.ids))]
        for chunk in ordered:
            step.seqlens_k[chunk.row - first] = chunk.start + len(chunk.ids) - 1
        step.logit_positions[:] = wanted
        return step.run()

    def decode(self, ids: Sequence[Sequence[int]], lengths: Sequence[int]) -> Logits:
        """Compute the next tokens of each of the first ``len(ids)`` rows: one, or more where some are drafts.

        Args:
            ids: the tokens that follow in every row, at least one; N in all, at most as many as the batch has rows.
            lengths: tokens that each row holds already, [B].

        Returns:
            Logits, [N, vocabulary], row by row; valid until the next call.
        """
        counts = [len(row) for row in ids]
        count = sum(counts)
        shape = (len(ids), max(counts), count)
        step = self._steps.get(shape)
        if step is None:
            if len(self._steps) >= MAX_STEPS:
                self._steps.clear()
            step = self._steps[shape] = _Step(self, 0, shape[:2], count, count)
            step.logit_positions[:] = np.arange(count)
            step.lay_out(counts)
        if count == len(ids):
            step.input_ids[:] = [row[0] for row in ids]
            step.position_ids[:] = step.seqlens_k[:] = lengths
            return step.run()
        step.lay_out(counts)
        step.input_ids[:] = [token for row in ids for token in row]
        step.position_ids[:] = [length + place for length, n in zip(lengths, counts, strict=True) for place in range(n)]
        step.seqlens_k[:] = np.add(lengths, counts) - 1
        return step.run()
