"""Measure this project's server and the workshop app (benchmarks/workshop.py) over HTTP with the same clients."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from benchmarks.engines.base import SETTLE_S
from benchmarks.load import resident_mib
from benchmarks.server import serve
from generation.config import ROOT

PROMPT = "Once upon a time there was a little girl who lived in a small house and"
REPETITIVE = " ".join(["the cat sat on the mat and"] * 4)
START_S = 60.0
LOOK_S = 0.02


class Round(NamedTuple):
    """One round: the number of concurrent clients, the tokens of each request, and the prompt."""

    clients: int
    tokens: int
    prompt: str = PROMPT


class App(NamedTuple):
    """A running server: its address, its process, and its start by `time.perf_counter`, in seconds."""

    url: str
    pid: int
    began: float


# As many clients as concurrent sequences; memory is sampled during these rounds.
CROWD = 16
# Requests of a single client. One response takes half a second, so one alone is easily disturbed by other load.
REPEATS = 3
PLAIN = {"http_stream": Round(1, 128), "http_16": Round(CROWD, 64)}
GUESSING = {"http_repetitive": Round(1, 128, REPETITIVE)}
ROUNDS = PLAIN | GUESSING


def ours(artifact: Path, most: int | None = None) -> dict[str, list[float]]:
    """Start this project's server without speculation, which random weights would favour; return its figures."""
    began = time.perf_counter()
    with serve(MODEL_DIR=str(artifact), SPECULATE="0") as served:
        app = App(f"{served.url}/generate", served.process.pid, began)
        return _figures(app, PLAIN, {"ignore_eos": "true"}, most)


def guessing(artifact: Path, most: int | None = None) -> dict[str, list[float]]:
    """Start this project's server with speculation, and return its figures on repetitive text."""
    began = time.perf_counter()
    extra = {"ignore_eos": "true", "do_sample": "false"}
    with serve(MODEL_DIR=str(artifact)) as served:
        return _figures(App(f"{served.url}/generate", served.process.pid, began), GUESSING, extra, most)


def workshop(checkpoint: Path, most: int | None = None) -> dict[str, list[float]]:
    """Start the workshop app, and return its figures."""
    began = time.perf_counter()
    with _serve_workshop(checkpoint) as (url, pid):
        return _figures(App(url, pid, began), ROUNDS, {}, most)


@contextmanager
def _serve_workshop(checkpoint: Path) -> Iterator[tuple[str, int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "benchmarks.workshop:app", "--port", str(port), "--log-level", "critical"],
        cwd=ROOT,
        env=os.environ | {"MODEL_DIR": str(checkpoint)},
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + START_S
        while not _listens(port):
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError("the workshop's app did not start")
            time.sleep(LOOK_S)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        try:
            process.wait(START_S)
        finally:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as look:
        return look.connect_ex(("127.0.0.1", port)) == 0


def _figures(
    app: App, rounds: Mapping[str, Round], extra: Mapping[str, str], most: int | None
) -> dict[str, list[float]]:
    url = app.url
    asyncio.run(_tokens_per_second(url, Round(1, 1), extra))
    found = {"http_fresh_s": [time.perf_counter() - app.began]}
    until = time.perf_counter() + (SETTLE_S if most is None else 0)
    while time.perf_counter() < until:
        asyncio.run(_tokens_per_second(url, Round(1, 32), extra))
    for name, asked in rounds.items():
        with _watch_memory(app.pid) as seen:
            shortened = asked._replace(tokens=min(asked.tokens, most or asked.tokens))
            times = REPEATS if asked.clients == 1 else 1
            found[name] = [asyncio.run(_tokens_per_second(url, shortened, extra)) for _ in range(times)]
        if asked.clients == CROWD:
            found["memory_16_mib"] = [max(seen)]
    return found


async def _tokens_per_second(url: str, asked: Round, extra: Mapping[str, str]) -> float:
    parameters = {"max_new_tokens": str(asked.tokens), **extra}
    async with httpx.AsyncClient(timeout=300, limits=httpx.Limits(max_connections=asked.clients)) as client:

        async def one() -> None:
            answer = await client.get(f"{url}/{asked.prompt}", params=parameters)
            answer.raise_for_status()

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(asked.clients)))
        return asked.clients * asked.tokens / (time.perf_counter() - began)


@contextmanager
def _watch_memory(pid: int) -> Iterator[list[float]]:
    """Sample the resident memory of a process while the block runs."""
    seen = [resident_mib(pid)]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            seen.append(resident_mib(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
        seen.append(resident_mib(pid))
