"""The interface of an engine, and the workloads that measure it."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Prompt = list[int]
VOCABULARY = 50257
# Seconds of warm-up before every measurement. Spinning threads are placed on separate processors only after a second;
# until then CTranslate2 reaches a third of its speed.
SETTLE_S = 2.0


# What the bundled model's tokenizer makes of the beginning of a story.
STORY = [415, 430, 258, 391, 394, 280, 258, 383, 449, 433, 399, 13, 323, 572, 265, 341]
# How text is sampled; every engine knows both.
TEMPERATURE, TOP_K = 1.0, 50


class Engine(Protocol):
    """A loaded model that continues prompts. Every prompt gets exactly `new` tokens."""

    def generate(self, prompts: list[Prompt], new: int, seed: int | None = None) -> None:
        """Continue all prompts by `new` tokens, in the engine's fastest way: greedily, or sampled with a seed."""


Maker = Callable[[Path], Engine]


@dataclass(frozen=True, slots=True)
class Workload:
    """`count` prompts of `length` tokens, each continued by `new`.

    Attributes:
        count: number of prompts that the engine gets together.
        length: number of tokens in each prompt.
        new: number of tokens to generate after each prompt.
        repetitive: whether a prompt repeats 8 tokens.
        is_delay: whether the figure is a time; otherwise it is tokens per second.
        sampled: whether the prompt is `STORY` and the continuation is sampled; otherwise it is greedy.
    """

    count: int
    length: int
    new: int
    repetitive: bool = False
    is_delay: bool = False
    sampled: bool = False

    def prompts(self, seed: int) -> list[Prompt]:
        """Return random prompts that depend on the seed; different seeds share no prefix that could be cached."""
        if self.sampled:
            return [STORY] * self.count
        choose = random.Random(seed)  # noqa: S311 - not for secrets
        span = 8 if self.repetitive else self.length
        drawn = [[choose.randrange(1000, VOCABULARY - 1000) for _ in range(span)] for _ in range(self.count)]
        return [prompt * (self.length // span) for prompt in drawn]

    def measure(self, engine: Engine, seed: int, most: int | None = None) -> float:
        """Return new tokens per second, or milliseconds for a delay; `most` limits the new tokens of a trial run."""
        asked, new = self.prompts(seed), min(self.new, most or self.new)
        began = time.perf_counter()
        engine.generate(asked, new, seed if self.sampled else None)
        seconds = time.perf_counter() - began
        return 1000 * seconds if self.is_delay else self.count * new / seconds


WORKLOADS = {
    "stream": Workload(1, 16, 128),
    "long": Workload(1, 768, 128),
    "first_ms": Workload(1, 512, 1, is_delay=True),
    "four": Workload(4, 16, 64),
    "batch": Workload(16, 16, 64),
    "bulk": Workload(128, 16, 64),
    "repetitive": Workload(1, 32, 128, repetitive=True),
    "sampled": Workload(1, len(STORY), 128, sampled=True),
    "sampled_16": Workload(16, len(STORY), 64, sampled=True),
}


def peak_mib() -> float:
    """Return the peak resident memory of this process in MiB; `getrusage` would include its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
