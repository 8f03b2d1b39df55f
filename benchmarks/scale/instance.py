"""Simulate one instance: the engine's loop, with measured times in place of the model.

An iteration prefills up to one chunk of prompt tokens, then decodes a token for every running request, as
`generation.engine.core.EngineCore.step` does. All requests have the same length, so they end in the order in which they
started.
"""

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

from benchmarks.scale.curves import CHUNK, Curves
from benchmarks.scale.points import NEW, PROMPT, ROWS

# The server's default of MAX_WAITING.
WAITING = 256


@dataclass(frozen=True, slots=True)
class Shape:
    """Prompt and new tokens of every request, and the limits of an instance: running and waiting requests."""

    prompt: int = PROMPT
    new: int = NEW
    rows: int = ROWS
    waiting: int = WAITING


@dataclass(slots=True)
class Seen:
    """Measurements of the clients: seconds to the first token of each request, and the number of refused requests."""

    first: list[float] = field(default_factory=list)
    refused: int = 0


class Instance:
    """Serves requests of one `Shape` as a process in `environment`, and records the results in `seen`."""

    def __init__(self, environment: simpy.Environment, curves: Curves, shape: Shape, seen: Seen) -> None:
        self._environment = environment
        self._shape = shape
        self._seen = seen
        self._http_s = curves.http_s
        context = shape.prompt + shape.new / 2
        self._steps = [0.0] + [curves.step(rows, context) for rows in range(1, shape.rows + 1)]
        self._chunks = curves.chunks(shape.prompt)
        together = max(1, CHUNK // shape.prompt)
        self._batches = [0.0] + [curves.batch(shape.prompt * count) for count in range(1, together + 1)]
        self._waiting: deque[float] = deque()
        self._ends: deque[int] = deque()
        self._chunk = 0
        self._step = 0
        self._wake: simpy.Event | None = None
        environment.process(self._run())

    @property
    def load(self) -> int:
        """Number of waiting and running requests."""
        return len(self._waiting) + len(self._ends)

    def submit(self, arrived: float) -> bool:
        """Accept a request that arrived at `arrived`; return False and count a refusal if the queue is full."""
        if len(self._waiting) >= self._shape.waiting:
            self._seen.refused += 1
            return False
        self._waiting.append(arrived)
        if self._wake is not None:
            self._wake.succeed()
            self._wake = None
        return True

    def _run(self) -> Generator[Any, None, None]:
        environment, ends = self._environment, self._ends
        while True:
            if not self._waiting and not ends:
                self._wake = environment.event()
                yield self._wake
            seconds = self._prefill()
            seconds += self._steps[len(ends)]
            self._step += 1
            yield environment.timeout(seconds)
            while ends and ends[0] <= self._step:
                ends.popleft()

    def _prefill(self) -> float:
        """Prefill up to one chunk, and return the seconds. A request whose prompt is complete gets its first token."""
        free = self._shape.rows - len(self._ends)
        if not self._waiting or not free:
            return 0.0
        if len(self._chunks) > 1:
            seconds = self._chunks[self._chunk]
            self._chunk += 1
            count = 0
            if self._chunk == len(self._chunks):
                self._chunk, count = 0, 1
        else:
            count = min(len(self._waiting), free, len(self._batches) - 1)
            seconds = self._batches[count]
        at = self._environment.now + seconds + self._http_s
        for _ in range(count):
            self._seen.first.append(at - self._waiting.popleft())
            if self._shape.new > 1:
                self._ends.append(self._step + self._shape.new - 1)
        return seconds
