"""Measure this project's server and others over HTTP with the same clients."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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


# Requests a number of tokens after a prompt.
Ask = Callable[[httpx.AsyncClient, str, int], Awaitable[httpx.Response]]


class App(NamedTuple):
    """A server: how it is asked, its process, and when it was started, by `time.perf_counter`."""

    ask: Ask
    pid: int
    began: float


def by_path(url: str, **extra: str) -> Ask:
    """Return an `Ask` for servers that take the prompt in the path, as the workshop's app does."""

    async def ask(client: httpx.AsyncClient, prompt: str, tokens: int) -> httpx.Response:
        return await client.get(f"{url}/{prompt}", params={"max_new_tokens": str(tokens), **extra})

    return ask


# As many clients as concurrent sequences; memory is sampled during these rounds.
CROWD = 16
# Requests of a single client. One response takes half a second, so one alone is easily disturbed by other load.
REPEATS = 3
PLAIN = {"http_stream": Round(1, 128), "http_4": Round(4, 64), "http_16": Round(CROWD, 64)}
GUESSING = {"http_repetitive": Round(1, 128, REPETITIVE)}
ROUNDS = PLAIN | GUESSING


def ours(artifact: Path, most: int | None = None) -> dict[str, list[float]]:
    """Start this project's server without speculation, which random weights would favour; return its figures."""
    began = time.perf_counter()
    with serve(MODEL_DIR=str(artifact), SPECULATE="0") as served:
        app = App(by_path(f"{served.url}/generate", ignore_eos="true"), served.process.pid, began)
        return figures(app, PLAIN, most)


def guessing(artifact: Path, most: int | None = None) -> dict[str, list[float]]:
    """Start this project's server with speculation, and return its figures on repetitive text."""
    began = time.perf_counter()
    with serve(MODEL_DIR=str(artifact)) as served:
        ask = by_path(f"{served.url}/generate", ignore_eos="true", do_sample="false")
        return figures(App(ask, served.process.pid, began), GUESSING, most)


def workshop(checkpoint: Path, most: int | None = None) -> dict[str, list[float]]:
    """Start the workshop app, and return its figures."""
    began = time.perf_counter()
    command = (sys.executable, "-m", "uvicorn", "benchmarks.workshop:app", "--log-level", "critical")
    with serve_other(command, {"MODEL_DIR": str(checkpoint)}) as (url, pid):
        return figures(App(by_path(url), pid, began), ROUNDS, most)


@contextmanager
def serve_other(
    command: Sequence[str], settings: Mapping[str, str], limit_s: float = START_S
) -> Iterator[tuple[str, int]]:
    """Run somebody else's server on a free port until the block ends; yield its address and its process.

    Raises:
        RuntimeError: it does not listen after `limit_s` seconds.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=ROOT,
        env=os.environ | dict(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # it may have processes of its own, which end with it
    )
    try:
        until = time.monotonic() + limit_s
        while not _listens(port):
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError("the server did not start")
            time.sleep(LOOK_S)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        try:
            process.wait(START_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as look:
        return look.connect_ex(("127.0.0.1", port)) == 0


def figures(app: App, rounds: Mapping[str, Round], most: int | None) -> dict[str, list[float]]:
    """Return what the clients of each round see, from the first token on; `most` new tokens in a trial."""
    asyncio.run(_tokens_per_second(app.ask, Round(1, 1)))
    found = {"http_fresh_s": [time.perf_counter() - app.began]}
    until = time.perf_counter() + (SETTLE_S if most is None else 0)
    while time.perf_counter() < until:
        asyncio.run(_tokens_per_second(app.ask, Round(1, 32)))
    for name, asked in rounds.items():
        with watch_memory(app.pid) as seen:
            shortened = asked._replace(tokens=min(asked.tokens, most or asked.tokens))
            times = REPEATS if asked.clients == 1 else 1
            found[name] = [asyncio.run(_tokens_per_second(app.ask, shortened)) for _ in range(times)]
        if asked.clients == CROWD:
            found["memory_16_mib"] = [max(seen)]
    return found


async def _tokens_per_second(ask: Ask, asked: Round) -> float:
    async with httpx.AsyncClient(timeout=300, limits=httpx.Limits(max_connections=asked.clients)) as client:

        async def one() -> None:
            answer = await ask(client, asked.prompt, asked.tokens)
            answer.raise_for_status()

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(asked.clients)))
        return asked.clients * asked.tokens / (time.perf_counter() - began)


@contextmanager
def watch_memory(pid: int) -> Iterator[list[float]]:
    """Sample the resident memory of a process and its children while the block runs."""
    seen = [_all_mib(pid)]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            seen.append(_all_mib(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
        seen.append(_all_mib(pid))


def _all_mib(pid: int) -> float:
    """Return the resident memory of a process and its descendants; one that has just ended counts nothing."""
    try:
        total = resident_mib(pid)
        children = [path.read_text(encoding="ascii").split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return total + sum(_all_mib(int(child)) for found in children for child in found)
