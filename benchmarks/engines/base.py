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


class Engine(Protocol):
    """A loaded model that continues prompts greedily. Every prompt gets exactly `new` tokens."""

    def generate(self, prompts: list[Prompt], new: int) -> None:
        """Continue all prompts by `new` tokens, in the engine's fastest way."""


Maker = Callable[[Path], Engine]


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload: `count` prompts of `length` tokens, each continued by `new`; a repetitive prompt repeats 8 tokens."""

    count: int
    length: int
    new: int
    repetitive: bool = False
    is_delay: bool = False

    def prompts(self, seed: int) -> list[Prompt]:
        """Return random prompts that depend on the seed; different seeds share no prefix that could be cached."""
        choose = random.Random(seed)  # noqa: S311 - not for secrets
        span = 8 if self.repetitive else self.length
        drawn = [[choose.randrange(1000, VOCABULARY - 1000) for _ in range(span)] for _ in range(self.count)]
        return [prompt * (self.length // span) for prompt in drawn]

    def measure(self, engine: Engine, seed: int, most: int | None = None) -> float:
        """Return new tokens per second, or milliseconds for a delay; `most` limits the new tokens of a trial run."""
        asked, new = self.prompts(seed), min(self.new, most or self.new)
        began = time.perf_counter()
        engine.generate(asked, new)
        seconds = time.perf_counter() - began
        return 1000 * seconds if self.is_delay else self.count * new / seconds


WORKLOADS = {
    "stream": Workload(1, 16, 128),
    "long": Workload(1, 768, 128),
    "first_ms": Workload(1, 512, 1, is_delay=True),
    "batch": Workload(16, 16, 64),
    "repetitive": Workload(1, 32, 128, repetitive=True),
}


def peak_mib() -> float:
    """Return the peak resident memory of this process in MiB; `getrusage` would include its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
