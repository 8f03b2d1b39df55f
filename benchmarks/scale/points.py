"""Define the points to measure on one machine, and their order in a run."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

CORES = 2
ROWS = 16
PROMPT, NEW = 16, 64
CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
ONE_CORE = (1, 2, 4, 8, 16)
PROMPTS = (16, 64, 128, 256, 512, 900)
BATCHES = (1, 4, 16, 32, 64)
# Workloads that the sizing rule is not fitted to: (prompt tokens, new tokens), with more clients than rows.
MIXES = ((16, 32), (100, 100), (200, 200), (400, 64), (800, 32))
CROWD = 32
# Rates of the open loops, relative to the requests per second of a full batch.
RATES = (0.3, 0.5, 0.7, 0.85)
OPEN_S = 20.0
# The simulation: rate of a burst relative to the mean, and default seconds to start an instance.
PEAK = 2.0
START_S = 30.0


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement.

    Attributes:
        kind: the curve: ``clients``, ``prompts``, ``rows``, ``mixes`` or ``open``.
        clients: number of clients, each with one request at a time; 0 with an open loop.
        prompt: number of tokens of each prompt.
        new: number of new tokens of each request.
        rows: ``MAX_RUNNING`` of the server.
        cores: number of processors that the server and the clients share.
        rate: rate of requests at random times (an open loop), relative to the requests per second of as many clients
            as rows; 0 with clients.
    """

    kind: str
    clients: int
    prompt: int = PROMPT
    new: int = NEW
    rows: int = ROWS
    cores: int = CORES
    rate: float = 0.0

    @property
    def requests(self) -> int:
        """Number of requests of each client."""
        return max(2, min(6, 64 // self.clients))

    def key(self) -> dict[str, Any]:
        """Return the fields that identify the point."""
        return asdict(self)


def points() -> Iterator[Point]:
    """Yield all points, grouped by server. The slowest, with many clients, are last."""
    yield from (Point("clients", clients) for clients in CLIENTS if clients <= ROWS)
    yield from (Point("prompts", clients, prompt=prompt) for prompt in PROMPTS for clients in (1, ROWS))
    yield from (Point("open", 0, rate=rate) for rate in RATES)
    yield from (Point("mixes", CROWD, prompt=prompt, new=new) for prompt, new in MIXES)
    yield from (Point("clients", clients, cores=1) for clients in ONE_CORE)
    yield from (Point("prompts", 1, prompt=prompt, cores=1) for prompt in PROMPTS)
    yield from (Point("rows", rows, prompt=100, rows=rows) for rows in BATCHES)
    yield from (Point("clients", clients) for clients in CLIENTS if clients > ROWS)
