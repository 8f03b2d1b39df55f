"""The model: prefill and decode with one ONNX session and its KV cache; token ids in, logits out."""

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort

from generation.engine.interface import Chunk, Logits
from generation.model.artifact import ADVICE, ArtifactConfig, ArtifactError
from generation.model.cache import KVCache
from generation.model.embedding import EmbeddingTable
from generation.model.step import Step, Workspace

# Attention has another kernel for a single token, whose results differ in the last bits, so prefill always uses two.
LEAST_SLOTS = 2
# Number of step shapes to keep bound.
MAX_STEPS = 128


class Model:
    """A loaded model with a cache for `batch` decoding sequences and `staging` prompts that are being prefilled.

    Args:
        session: session of the serving graph.
        config: the model's configuration.
        batch: number of batch rows.
        staging: number of staging rows.
        chunk: maximum number of prompt tokens per row in one call of `prefill`.
        table: the embedding table that the session was opened with, if any.
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
        self._workspace = Workspace(session, config, self.cache, table)
        self._steps: dict[tuple[int, int, int], Step] = {}

    def check_context(self) -> None:
        """Run a step at the last position of the context, because the graph's inputs do not show its length.

        The step also makes onnxruntime free the memory that only loading needed.

        Raises:
            ArtifactError: the graph's context is shorter than ``config.json`` says.
        """
        step = Step(self._workspace, 0, (1, 1), 1, 1)
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
        """Compute one chunk each of one or more prompts, which are in different staging rows of the cache.

        Returns:
            The wanted logits, [W, vocabulary], chunk by chunk; valid until the next call.
        """
        ordered = sorted(chunks, key=lambda chunk: chunk.row)
        first = ordered[0].row
        # A step binds contiguous rows; those between the used ones get no tokens.
        counts = [0] * (ordered[-1].row + 1 - first)
        offsets: dict[int, int] = {}
        for chunk in ordered:
            offsets[chunk.row] = sum(counts)
            counts[chunk.row - first] = len(chunk.ids)
        wanted = [offsets[chunk.row] + place for chunk in chunks for place in range(chunk.wanted, len(chunk.ids))]
        slots = (len(counts), max(LEAST_SLOTS, *counts))
        step = Step(self._workspace, first, slots, sum(counts), len(wanted))
        step.lay_out(counts)
        step.input_ids[:] = [token for chunk in ordered for token in chunk.ids]
        step.position_ids[:] = [chunk.start + place for chunk in ordered for place in range(len(chunk.ids))]
        for chunk in ordered:
            step.seqlens_k[chunk.row - first] = chunk.start + len(chunk.ids) - 1
        step.logit_positions[:] = wanted
        return step.run()

    def decode(self, ids: Sequence[Sequence[int]], lengths: Sequence[int]) -> Logits:
        """Append tokens to each of the first ``len(ids)`` rows: the last chosen token, then draft tokens, if any.

        Args:
            ids: the tokens to append to each row, at least one per row; N in all, at most the number of batch rows.
            lengths: number of tokens that each row already holds, [B].

        Returns:
            Logits after each token, [N, vocabulary], row by row; valid until the next call.
        """
        counts = [len(row) for row in ids]
        count = sum(counts)
        shape = (len(ids), max(counts), count)
        step = self._steps.get(shape)
        if step is None:
            if len(self._steps) >= MAX_STEPS:
                self._steps.clear()
            step = self._steps[shape] = Step(self._workspace, 0, shape[:2], count, count)
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
