"""Measure how hostile requests affect other clients: a stream, and a probe of ``/api/health``.

This process reads the stream and sends the probes, while another process sends hostile requests, one kind after the
other. For each kind, the table shows the longest gap of the stream, the times of the probe, and the peak memory.
``--beside-a-list`` measures instead the time to first token of short requests beside a long list of prompts.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.hostile_requests import SENT
from benchmarks.server import serve

# Bounds for two otherwise idle cores, in seconds. A prefill chunk of the bundled model takes about 0.02 s.
HEALTH_S = 0.1
SILENCE_S = 0.12
SETTLE_S = 0.3
PROBE_PAUSE_S = 0.01
STREAM = {"prompt": "Once upon a time", "max_new_tokens": 450, "ignore_eos": True, "stream": True, "seed": 1}
SHORT = {"prompt": "Hello", "max_tokens": 4, "ignore_eos": True, "stream": True}


@dataclass(slots=True)
class Seen:
    """Observations of the stream and the probe, in seconds."""

    gaps: list[float] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)

    def p99(self) -> float:
        """Return the 99th percentile of the probe's times."""
        return sorted(self.probes)[int(len(self.probes) * 0.99)] if self.probes else 0.0


async def _read(client: httpx.AsyncClient, seen: Seen) -> None:
    """Read one stream after the other; the gaps include the wait in the queue."""
    last = time.monotonic()
    while True:
        async with client.stream("POST", "/generate", json=STREAM) as response:
            if response.status_code != httpx.codes.OK:
                seen.refused[response.status_code] += 1
                await asyncio.sleep(PROBE_PAUSE_S)
                continue
            async for _ in response.aiter_raw():
                now = time.monotonic()
                seen.gaps.append(now - last)
                last = now


async def _probe(client: httpx.AsyncClient, seen: Seen) -> None:
    while True:
        began = time.monotonic()
        await client.get("/health")
        seen.probes.append(time.monotonic() - began)
        await asyncio.sleep(PROBE_PAUSE_S)


@asynccontextmanager
async def _watching(url: str) -> AsyncIterator[Seen]:
    seen = Seen()
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        tasks = [asyncio.create_task(_read(client, seen)), asyncio.create_task(_probe(client, seen))]
        try:
            await asyncio.sleep(SETTLE_S)
            yield seen
            await asyncio.sleep(SETTLE_S)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
    for one in ends:
        if isinstance(one, Exception):
            raise one


async def _send(url: str, name: str) -> dict[str, Any]:
    """Send one kind of hostile requests from another process; return the responses."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.hostile_requests", url, name, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    answers: dict[str, Any] = json.loads(out)
    return answers


def _memory(process: int) -> int:
    """Return the peak resident memory of a process in MiB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) >> 10 for line in status.splitlines() if line.startswith("VmHWM"))


def findings(name: str, seen: Seen) -> list[str]:
    """Return the bounds that were exceeded."""
    broken = []
    silence, health = max(seen.gaps, default=float("inf")), seen.p99()
    if silence > SILENCE_S:
        broken.append(f"{name}: the stream was silent for {silence * 1000:.0f} ms")
    if health > HEALTH_S:
        broken.append(f"{name}: health took {health * 1000:.0f} ms at the 99th percentile")
    if seen.refused:
        broken.append(f"{name}: streams were refused: {dict(seen.refused)}")
    return broken


async def attack(url: str, process: int, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Send each kind; return the lines of a table, and the bounds that were exceeded."""
    lines = [
        "| request | answers | it took, s | longest silence, ms | health, 99 % / longest, ms | memory, MiB |",
        "|---|---|---:|---:|---:|---:|",
    ]
    broken = []
    for name in names:
        async with _watching(url) as seen:
            sent = await _send(url, name)
        silence, health = max(seen.gaps, default=float("inf")), seen.p99()
        answers = ", ".join(f"{count} x {status}" for status, count in sent["answers"].items())
        lines.append(
            f"| {name} | {answers} | {sent['seconds']:.1f} | {silence * 1000:.0f} "
            f"| {health * 1000:.0f} / {max(seen.probes) * 1000:.0f} | {_memory(process)} |"
        )
        print(lines[-1], file=sys.stderr, flush=True)
        broken += findings(name, seen)
    return lines, broken


async def _first_token(client: httpx.AsyncClient) -> float | int:
    """Return the seconds to the first token of a short request, or the status if it was refused."""
    began = time.monotonic()
    async with client.stream("POST", "/v1/completions", json=SHORT) as response:
        if response.status_code != httpx.codes.OK:
            return int(response.status_code)
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                return float("inf") if '"error"' in line else time.monotonic() - began
    return float("inf")


def _beside() -> Iterator[tuple[str, dict[str, Any]]]:
    long: dict[str, Any] = {"max_tokens": 200, "ignore_eos": True, "timeout_s": 20}
    yield "nothing", {}
    yield "one long request", long | {"prompt": "Once"}
    yield "a list of 100 prompts", long | {"prompt": ["Once upon"] * 100}
    yield "a list of 272 prompts x 16", long | {"prompt": ["Once upon"] * 272, "n": 16, "max_tokens": 60}
    yield "a list of 100 prompts of 400 tokens", long | {"prompt": [[7] * 400] * 100, "max_tokens": 50}


async def beside_a_list(url: str, seconds: float) -> list[str]:
    """Measure the time to first token of short requests beside long ones; return the lines of a table."""
    lines = ["| beside | short requests | refused | first token, ms: median | longest |", "|---|---:|---:|---:|---:|"]
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        for name, body in _beside():
            work = asyncio.create_task(client.post("/v1/completions", json=body)) if body else None
            await asyncio.sleep(SETTLE_S)
            found: list[float | int] = []
            until = time.monotonic() + seconds
            while time.monotonic() < until and not (work and work.done()):
                found.append(await _first_token(client))
                await asyncio.sleep(0.05)
            times = [one * 1000 for one in found if isinstance(one, float)] or [float("nan")]
            lines.append(
                f"| {name} | {len(found)} | {sum(isinstance(one, int) for one in found)} "
                f"| {median(times):.0f} | {max(times):.0f} |"
            )
            print(lines[-1], file=sys.stderr, flush=True)
            if work:
                work.cancel()
                with suppress(asyncio.CancelledError):
                    await work
            await asyncio.sleep(SETTLE_S)
    return lines


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--beside-a-list", action="store_true")
    parser.add_argument(
        "--seconds", type=float, default=5, help="of each row of --beside-a-list (default: %(default)s)"
    )
    parser.add_argument("--only", help="the kind to send")
    options = parser.parse_args()
    with serve() as served:
        if options.beside_a_list:
            lines, broken = asyncio.run(beside_a_list(served.url, options.seconds)), list[str]()
        else:
            names = [options.only] if options.only else list(SENT)
            lines, broken = asyncio.run(attack(served.url, served.process.pid, names))
        broken += [line for line in served.log() if "Traceback" in line][:1]
    print("\n".join(lines))
    for one in broken:
        print(f"BROKEN: {one}")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
