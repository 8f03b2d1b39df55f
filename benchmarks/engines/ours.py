"""Run this project's engine, without HTTP."""

import asyncio
from pathlib import Path

from benchmarks.engines.base import TEMPERATURE, TOP_K, Prompt


class Ours:
    """This project's engine on an artifact; `options` are settings, such as ``speculate=0``."""

    def __init__(self, folder: Path, **options: int) -> None:
        from generation.config import Settings
        from generation.service import load

        self._loaded = load(Settings(model_dir=folder, prefix_cache_mb=0, **options))  # type: ignore[arg-type]

    def generate(self, prompts: list[Prompt], new: int, seed: int | None = None) -> None:
        """Submit one request per prompt, all at once."""
        from generation.engine.request import GenerationRequest
        from generation.sampling.params import SamplingParams

        def sampling(number: int) -> SamplingParams:
            if seed is None:
                return SamplingParams(do_sample=False, ignore_eos=True)
            return SamplingParams(temperature=TEMPERATURE, top_k=TOP_K, seed=seed + number, ignore_eos=True)

        async def one(number: int, prompt: Prompt) -> None:
            request = GenerationRequest(tuple(prompt), new, sampling=sampling(number))
            await self._loaded.engine.submit(request).rest()

        async def every() -> None:
            await asyncio.gather(*(one(number, prompt) for number, prompt in enumerate(prompts)))

        asyncio.run(every())


class BatchFile:
    """The command ``batch`` on a file of the prompts, from its first byte to its last answer."""

    def __init__(self, folder: Path) -> None:
        from benchmarks.bulk import Bench

        self._bench = Bench(folder)

    def generate(self, prompts: list[Prompt], new: int, seed: int | None = None) -> None:
        """A line a prompt, greedily.

        Raises:
            ValueError: the text is to be sampled.
        """
        if seed is not None:
            raise ValueError("a batch file is measured greedily")
        self._bench.batch(prompts, new)
