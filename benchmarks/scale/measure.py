"""Measure the points on a local server that streams over HTTP, without speculation and prefix cache."""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.engines.base import SETTLE_S
from benchmarks.figures import percentile
from benchmarks.load import Seen, stream
from benchmarks.machine import describe
from benchmarks.over_http import watch_memory
from benchmarks.scale.curves import select
from benchmarks.scale.points import CORES, OPEN_S, ROWS, Point, points
from benchmarks.scale.traffic import open_loop
from benchmarks.server import Served, serve
from benchmarks.turn import watch_others


@dataclass(frozen=True, slots=True)
class Plan:
    """Limits of one run.

    Attributes:
        rounds: number of measurements of each point.
        noise: maximum CPU share of other processes; the next run measures a point above it again.
        until: time of `time.monotonic` after which no point is started.
    """

    rounds: int
    noise: float
    until: float


Results = dict[str, Any]
ROUTE = "/v1/completions"


class Load:
    """Sends requests with random prompts to a server."""

    def __init__(self, url: str, vocabulary: int, seed: int) -> None:
        self._url = url
        self._vocabulary = vocabulary
        self._random = random.Random(seed)  # noqa: S311 - not for secrets

    def body(self, point: Point) -> dict[str, object]:
        """Return a request body with a random prompt."""
        prompt = [self._random.randrange(self._vocabulary - 1) for _ in range(point.prompt)]
        return {"prompt": prompt, "max_tokens": point.new, "ignore_eos": True, "stream": True}

    async def closed(self, point: Point, requests: int) -> Seen:
        """Let each client send `requests` requests, one after the other (closed loop)."""
        seen = Seen()
        async with _client(point.clients) as client:

            async def one() -> None:
                for _ in range(requests):
                    await stream(client, self._url, self.body(point), seen, ROUTE)

            began = time.perf_counter()
            await asyncio.gather(*(one() for _ in range(point.clients)))
            seen.wall = time.perf_counter() - began
        return seen

    async def opened(self, point: Point, rate: float, round_: int) -> Seen:
        """Send requests at random times, with a mean `rate` per second, regardless of outstanding ones (open loop)."""
        seen = Seen()
        async with _client(None) as client:
            began = time.perf_counter()
            sent = []
            for at in open_loop(rate, OPEN_S, round_):
                await asyncio.sleep(max(0.0, began + at - time.perf_counter()))
                sent.append(asyncio.ensure_future(stream(client, self._url, self.body(point), seen, ROUTE)))
            await asyncio.gather(*sent)
            seen.wall = time.perf_counter() - began
        return seen


def _client(connections: int | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=300, limits=httpx.Limits(max_connections=connections))


def take(load: Load, served: Served, point: Point, round_: int, full: float) -> dict[str, Any]:
    """Measure one point; return it with its figures. `full` is the requests per second of a full batch."""
    rate = point.rate * full
    with watch_others(served.process.pid) as share, watch_memory(served.process.pid) as memory:
        if point.rate:
            seen = asyncio.run(load.opened(point, rate, round_))
        else:
            seen = asyncio.run(load.closed(point, point.requests))
    gaps = seen.gaps or [0.0]
    return point.key() | {
        "round": round_,
        "rate_s": rate,
        "tokens_s": seen.tokens / seen.wall,
        "first_p50_ms": 1000 * median(seen.first),
        "first_p99_ms": 1000 * percentile(seen.first, 0.99),
        "gap_mean_ms": 1000 * sum(gaps) / len(gaps),
        "gap_p50_ms": 1000 * median(gaps),
        "memory_mib": max(memory),
        "others": share.others,
    }


@contextmanager
def _server(model: Path, point: Point) -> Iterator[Served]:
    """Run a server for points like `point`, on the same processors as the clients."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[: point.cores])
    settings = {"MAX_RUNNING": str(point.rows), "SPECULATE": "0", "PREFIX_CACHE_MB": "0", "CACHE_MB": "8192"}
    try:
        with serve(MODEL_DIR=str(model.resolve()), **settings) as served:
            yield served
    finally:
        os.sched_setaffinity(0, allowed)


def run(results: Results, model: Path, plan: Plan, save: Callable[[], None]) -> bool:
    """Measure the missing points, and save after each; return False if points are still missing."""
    vocabulary = int(json.loads((model / "config.json").read_text(encoding="utf-8"))["vocabulary"])
    for round_ in range(1, plan.rounds + 1):
        done = {_identity(one) for one in results["points"] if one["round"] == round_ and one["others"] <= plan.noise}
        missing = [point for point in points() if _identity(point.key()) not in done]
        for _, group in groupby(missing, lambda point: (point.cores, point.rows)):
            todo = list(group)
            if time.monotonic() >= plan.until:
                return False
            with _server(model, todo[0]) as served:
                load = Load(served.url, vocabulary, round_)
                settled = time.monotonic() + SETTLE_S
                while time.monotonic() < settled:
                    asyncio.run(load.closed(Point("settle", min(todo[0].rows, 4), new=16), 1))
                for point in todo:
                    if time.monotonic() >= plan.until:
                        return False
                    found = take(load, served, point, round_, full_speed(results["points"]))
                    keep(results["points"], found)
                    save()
                    print(f"round {round_}: {point}; others {found['others']:.0%}", file=sys.stderr, flush=True)
    return all(one["others"] <= plan.noise for one in results["points"] if one["round"] <= plan.rounds)


def full_speed(points: list[dict[str, Any]]) -> float:
    """Return the measured requests per second with as many clients as rows; 1 if not yet measured."""
    found = select(points, "clients", clients=ROWS, cores=CORES)
    return median(one["tokens_s"] / one["new"] for one in found) if found else 1.0


def keep(kept: list[dict[str, Any]], found: dict[str, Any]) -> None:
    """Add a point; keep the attempt with the least other work if the round already has the point."""
    for place, one in enumerate(kept):
        if (one["round"], _identity(one)) == (found["round"], _identity(found)):
            kept[place] = min(one, found, key=lambda attempt: attempt["others"])
            return
    kept.append(found)


def _identity(point: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(point[name] for name in Point.__dataclass_fields__)


def fresh() -> Results:
    """Return results with a description of the machine and no points."""
    return {"machine": describe(), "points": []}
