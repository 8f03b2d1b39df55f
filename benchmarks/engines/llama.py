"""Run llama.cpp through the C interface in its Python package, because the package's class does not support batches."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.engines.base import TEMPERATURE, TOP_K, Prompt

CONTEXT = 1024
# More sequences than this are continued in several batches.
SEQUENCES = 32
CONTEXT_IN_BATCH = 128
BATCH = 1024
MICRO_BATCH = 512

# Takes a context and a place in its batch; returns a token.
Choose = Callable[[Any, int], int]


class LlamaCpp:
    """A GGUF model, with one context per number of sequences, created on first use."""

    def __init__(self, file: Path) -> None:
        import llama_cpp
        import numpy as np

        self._c: Any = llama_cpp
        self._np: Any = np
        self._quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._quiet, None)
        llama_cpp.llama_backend_init()
        self._model: Any = llama_cpp.llama_model_load_from_file(
            str(file).encode(), llama_cpp.llama_model_default_params()
        )
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {file}")
        self._vocabulary: int = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._contexts: dict[int, Any] = {}
        self._batch: Any = llama_cpp.llama_batch_init(BATCH, 0, 1)
        self._context(1)

    def generate(self, prompts: list[Prompt], new: int, seed: int | None = None) -> None:
        """Continue the prompts in batches of as many as fit."""
        choose = self._likeliest if seed is None else self._drawn(seed)
        for first in range(0, len(prompts), SEQUENCES):
            self._generate(prompts[first : first + SEQUENCES], new, choose)

    def _drawn(self, seed: int) -> Choose:
        """Return a function that samples a token."""
        chain = self._c.llama_sampler_chain_init(self._c.llama_sampler_chain_default_params())
        for step in (
            self._c.llama_sampler_init_top_k(TOP_K),
            self._c.llama_sampler_init_temp(TEMPERATURE),
            self._c.llama_sampler_init_dist(seed),
        ):
            self._c.llama_sampler_chain_add(chain, step)
        return lambda context, place: int(self._c.llama_sampler_sample(chain, context, place))

    def _generate(self, prompts: list[Prompt], new: int, choose: Choose) -> None:
        context = self._context(len(prompts))
        self._c.llama_memory_clear(self._c.llama_get_memory(context), True)
        newest: list[int] = []
        for number, prompt in enumerate(prompts):
            last = len(prompt) - 1
            self._decode(context, [(token, place, number, place == last) for place, token in enumerate(prompt)])
            newest.append(choose(context, last))
        for step in range(new - 1):
            entries = [(token, len(prompts[i]) + step, i, True) for i, token in enumerate(newest)]
            self._decode(context, entries)
            newest = [choose(context, i) for i in range(len(prompts))]

    def _context(self, sequences: int) -> Any:
        if sequences not in self._contexts:
            settings = self._c.llama_context_default_params()
            settings.n_ctx = CONTEXT if sequences == 1 else CONTEXT_IN_BATCH * sequences
            settings.n_seq_max = sequences
            settings.n_batch, settings.n_ubatch = BATCH, MICRO_BATCH
            settings.n_threads = settings.n_threads_batch = len(os.sched_getaffinity(0))
            self._contexts[sequences] = self._c.llama_init_from_model(self._model, settings)
        return self._contexts[sequences]

    def _decode(self, context: Any, entries: list[tuple[int, int, int, bool]]) -> None:
        """Compute tokens, each given with its position, its sequence, and whether to compute its logits."""
        batch = self._batch
        batch.n_tokens = len(entries)
        for i, (token, position, sequence, wanted) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
        if self._c.llama_decode(context, batch):
            raise RuntimeError("llama.cpp cannot decode")

    def _likeliest(self, context: Any, place: int) -> int:
        logits = self._c.llama_get_logits_ith(context, place)
        return int(self._np.ctypeslib.as_array(logits, shape=(self._vocabulary,)).argmax())
