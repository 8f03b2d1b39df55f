"""Ours and the workshop's app under the same clients, over HTTP."""

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

import httpx

from benchmarks.load import resident_mib
from generation.config import ROOT
from tests.server import serve

PROMPT = "Once upon a time there was a little girl who lived in a small house and"
START_S = 60.0
LOOK_S = 0.02
# Clients and tokens of each request.
ROUNDS = {"http_stream": (1, 128), "http_16": (16, 64)}


def ours(artifact: Path, most: int | None = None) -> dict[str, list[float]]:
    """Start our server and return its figures; without speculation, which random weights would flatter."""
    began = time.perf_counter()
    with serve(MODEL_DIR=str(artifact), SPECULATE="0") as served:
        return _figures(f"{served.url}/generate", served.process.pid, {"ignore_eos": "true"}, began, most)


def workshop(checkpoint: Path, most: int | None = None) -> dict[str, list[float]]:
    """Start the workshop's app and return its figures."""
    began = time.perf_counter()
    with _serve_workshop(checkpoint) as (url, pid):
        return _figures(url, pid, {}, began, most)


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


def _figures(url: str, pid: int, extra: Mapping[str, str], began: float, most: int | None) -> dict[str, list[float]]:
    asyncio.run(_tokens_per_second(url, 1, 1, extra))
    found = {"http_fresh_s": [time.perf_counter() - began]}
    asyncio.run(_tokens_per_second(url, 1, 8, extra))  # warms up
    for name, (clients, tokens) in ROUNDS.items():
        with _watch_memory(pid) as seen:
            found[name] = [asyncio.run(_tokens_per_second(url, clients, min(tokens, most or tokens), extra))]
        found["memory_16_mib"] = [max(seen)]
    return found


async def _tokens_per_second(url: str, clients: int, tokens: int, extra: Mapping[str, str]) -> float:
    parameters = {"max_new_tokens": str(tokens), **extra}
    async with httpx.AsyncClient(timeout=300, limits=httpx.Limits(max_connections=clients)) as client:

        async def one() -> None:
            answer = await client.get(f"{url}/{PROMPT}", params=parameters)
            answer.raise_for_status()

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(clients)))
        return clients * tokens / (time.perf_counter() - began)


@contextmanager
def _watch_memory(pid: int) -> Iterator[list[float]]:
    """Look at a process's resident memory now and then while the block runs."""
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
