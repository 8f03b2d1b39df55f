"""Run this project's engine, without HTTP."""

import asyncio
from pathlib import Path

from benchmarks.engines.base import Prompt


class Ours:
    """This project's engine on an artifact; `options` are settings, such as ``speculate=0``."""

    def __init__(self, folder: Path, **options: int) -> None:
        from generation.config import Settings
        from generation.service import load

        self._loaded = load(Settings(model_dir=folder, prefix_cache_mb=0, **options))  # type: ignore[arg-type]

    def generate(self, prompts: list[Prompt], new: int) -> None:
        """Submit one request per prompt, all at once."""
        from generation.engine.request import GenerationRequest
        from generation.sampling.params import SamplingParams

        sampling = SamplingParams(do_sample=False, ignore_eos=True)

        async def one(prompt: Prompt) -> None:
            await self._loaded.engine.submit(GenerationRequest(tuple(prompt), new, sampling=sampling)).rest()

        async def every() -> None:
            await asyncio.gather(*(one(prompt) for prompt in prompts))

        asyncio.run(every())
