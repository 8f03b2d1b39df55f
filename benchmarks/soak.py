"""Put mixed load on a server for a long time, and check that memory, latency and the queue do not grow.

    python -m benchmarks.soak --minutes 30

Starts the embedded host. Clients send one request after the other from a seeded mix: streams, whole responses, OpenAI's
contract, long prompts, refused requests, requests that end at their deadline, and client disconnects. A probe repeats
one small request; its text must never change, and its time is the latency. The first fifth of the time is the warm-up.
The first third of the rest is then compared with the last third. Prints a Markdown table, and exits with 1 if a bound
is exceeded.
"""

import argparse
import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.server import Served, serve

WARM_UP = 0.2
# Bounds on the ratio of the last third to the first. Wall-clock time depends on other load, so its bound is wide.
MEMORY, LATENCY, CPU = 1.05, 1.5, 1.25
SPARE_HANDLES = 8
ROWS = 16
WORDS = ("cat", "dog", "tree", "ball", "river", "house", "mother", "little", "happy", "red", "old", "garden", "boat")
PROBE = {"prompt": "Once upon a time", "max_new_tokens": 16, "seed": 5, "ignore_eos": True}

Client = httpx.AsyncClient


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of the server: seconds since the start, MiB resident, CPU seconds, handles, threads, requests."""

    at: float
    memory: float
    cpu: float
    handles: int
    threads: int
    requests: int
    latency: float


@dataclass(slots=True)
class Seen:
    """Observations of the clients."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


def _prompt(dice: random.Random, words: int) -> str:
    return " ".join(dice.choice(WORDS) for _ in range(words))


async def _post(client: Client, path: str, body: dict[str, Any], *allowed: int) -> str:
    """Send a request; return its name for the count, or raise an error if the response is wrong."""
    response = await client.post(path, json=body)
    if response.status_code not in {*allowed, 429}:
        raise RuntimeError(f"{path} answered {response.status_code}: {response.text[:200]}")
    return str(response.status_code)


async def whole(client: Client, dice: random.Random) -> str:
    """Request whole responses."""
    body = {
        "prompt": _prompt(dice, 5),
        "max_new_tokens": dice.randint(1, 60),
        "num_return_sequences": dice.randint(1, 4),
    }
    return await _post(client, "/generate", body, 200)


async def openai(client: Client, dice: random.Random) -> str:
    """Request ranked choices with log-probabilities."""
    body = {
        "prompt": [_prompt(dice, 4), _prompt(dice, 9)],
        "max_tokens": dice.randint(1, 24),
        "n": 1,
        "best_of": 2,
        "logprobs": 2,
        "echo": dice.random() < 1 / 3,
        "stop": ["."],
    }
    return await _post(client, "/v1/completions", body, 200)


async def long_prompt(client: Client, dice: random.Random) -> str:
    """Send a new prompt of several chunks, so that the prefix cache evicts others."""
    return await _post(client, "/generate", {"prompt": _prompt(dice, 280), "max_new_tokens": 4}, 200)


async def guided(client: Client, dice: random.Random) -> str:
    """Request a text that matches a regular expression, a different one each time, so that it must be compiled."""
    body = {"prompt": _prompt(dice, 3), "max_tokens": 8, "guided_regex": f"[0-9]{{{dice.randint(1, 9)}}}"}
    return await _post(client, "/v1/completions", body, 200)


async def refused(client: Client, dice: random.Random) -> str:
    """Send a request that must be refused."""
    body: dict[str, Any] = dice.choice(
        [
            {"prompt": "x", "max_new_tokens": 100000},
            {"prompt": "x", "temperature": "hot"},
            {"prompt": "x " * 4000, "max_new_tokens": 1},
            {"unknown": 1},
        ]
    )
    return await _post(client, "/generate", body, 400)


async def deadline(client: Client, dice: random.Random) -> str:
    """Send a request that ends at its deadline."""
    body = {"prompt": _prompt(dice, 3), "max_new_tokens": 400, "ignore_eos": True, "timeout_s": 0.3}
    return await _post(client, "/generate", body, 200, 503)


async def stream(client: Client, dice: random.Random) -> str:
    """Read a stream to its end."""
    body = {"prompt": _prompt(dice, 5), "max_new_tokens": dice.randint(1, 80), "stream": True}
    async with client.stream("POST", "/generate", json=body) as response:
        lines = [line async for line in response.aiter_lines() if line]
    if response.status_code == httpx.codes.OK and lines[-1] != "data: [DONE]":
        raise RuntimeError(f"a stream ended with {lines[-1][:100]}")
    return str(response.status_code)


async def leave_stream(client: Client, dice: random.Random) -> str:
    """Disconnect after a few events of a long stream."""
    body = {"prompt": _prompt(dice, 5), "max_new_tokens": 400, "ignore_eos": True, "stream": True}
    left = dice.randint(0, 5)
    async with client.stream("POST", "/generate", json=body | {"num_return_sequences": dice.randint(1, 4)}) as response:
        async for _ in response.aiter_lines():
            left -= 1
            if left < 0:
                break
    return "left"


async def leave_whole(client: Client, dice: random.Random) -> str:
    """Disconnect before a whole response arrives."""
    body = {"prompt": _prompt(dice, 5), "max_new_tokens": 400, "ignore_eos": True}
    try:
        return await asyncio.wait_for(_post(client, "/generate", body, 200), dice.uniform(0.01, 0.3))
    except TimeoutError:
        return "left"


Kind = Callable[[Client, random.Random], Awaitable[str]]
MIX: list[tuple[Kind, int]] = [
    (whole, 5), (stream, 5), (openai, 3), (long_prompt, 2), (guided, 1), (refused, 2), (deadline, 1), (leave_stream, 3),
    (leave_whole, 2),
]  # fmt: skip


async def visit(url: str, seed: int, until: float, seen: Seen) -> None:
    """Run one client."""
    dice = random.Random(seed)  # noqa: S311 - a mix that can be repeated, no secret
    kinds, weights = zip(*MIX, strict=True)
    async with Client(base_url=url, timeout=120) as client:
        while time.monotonic() < until:
            kind: Kind = dice.choices(kinds, weights)[0]
            name = getattr(kind, "__name__", "")
            try:
                seen.answers[f"{name} {await kind(client, dice)}"] += 1
            except (httpx.HTTPError, RuntimeError) as error:
                seen.wrong.append(f"{name}: {type(error).__name__} {error}")


def look(process: int) -> tuple[float, float, int, int]:
    """Return MiB resident, CPU seconds, open handles and threads of a process."""
    home = Path(f"/proc/{process}")
    status = dict(line.split(":", 1) for line in (home / "status").read_text(encoding="ascii").splitlines())
    times = (home / "stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    cpu = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
    handles = len(list((home / "fd").iterdir()))
    return int(status["VmRSS"].split()[0]) / 1024, cpu, handles, int(status["Threads"])


async def probe(served: Served, began: float, until: float, pause_s: float, seen: Seen) -> None:
    """Repeat the same request, and sample the process after each."""
    texts = set()
    async with Client(base_url=served.url, timeout=120) as client:
        while time.monotonic() < until:
            start = time.monotonic()
            response = await client.post("/generate", json=PROBE)
            latency = time.monotonic() - start
            if response.status_code == httpx.codes.OK:
                texts.add(response.text)
                now, requests = time.monotonic() - began, seen.answers.total()
                memory, cpu, handles, threads = look(served.process.pid)
                seen.samples.append(Sample(now, memory, cpu, handles, threads, requests, latency))
            elif response.status_code != httpx.codes.TOO_MANY_REQUESTS:
                seen.wrong.append(f"probe: {response.status_code} {response.text[:200]}")
            await asyncio.sleep(pause_s)
        if len(texts) > 1:
            seen.wrong.append(f"probe: the same request had {len(texts)} answers")
        # If a sequence is stuck, there are not enough rows for this request, and it ends with 503.
        body = {"prompt": "The end", "max_new_tokens": 2, "num_return_sequences": ROWS, "timeout_s": 60}
        response = await client.post("/generate", json=body)
        if response.status_code != httpx.codes.OK:
            seen.wrong.append(f"rows do not come back: {response.status_code} {response.text[:200]}")


async def run(served: Served, minutes: float, clients: int) -> Seen:
    """Load the server."""
    seen, began = Seen(), time.monotonic()
    until = began + minutes * 60
    visits = [visit(served.url, seed, until, seen) for seed in range(clients)]
    # The probe ends last, so that its final request runs on an idle server.
    await asyncio.gather(*visits, probe(served, began, until + 2, minutes * 60 / 400, seen))
    return seen


def _milliseconds(part: list[Sample]) -> float:
    return 1000 * median(one.latency for one in part)


def _cost(part: list[Sample]) -> float:
    return 1000 * (part[-1].cpu - part[0].cpu) / max(1, part[-1].requests - part[0].requests)


def judge(samples: list[Sample], minutes: float) -> tuple[list[str], list[str]]:
    """Return the lines of a table, and the bounds that were exceeded."""
    warm = [one for one in samples if one.at >= minutes * 60 * WARM_UP]
    third = len(warm) // 3
    if third < 2:  # noqa: PLR2004
        return [], [f"only {len(samples)} samples were taken"]
    first, last = warm[:third], warm[-third:]

    figures = (
        ("resident memory, MiB, median", median(s.memory for s in first), median(s.memory for s in last), MEMORY),
        ("latency of the probe, ms, median", _milliseconds(first), _milliseconds(last), LATENCY),
        ("CPU of the server, ms a request", _cost(first), _cost(last), CPU),
    )
    lines = ["| | first third | last third | change | bound |", "|---|---|---|---|---|"]
    broken = []
    for name, a, b, bound in figures:
        lines.append(f"| {name} | {a:.1f} | {b:.1f} | {b / a - 1:+.1%} | {bound - 1:+.0%} |")
        if b > a * bound:
            broken.append(f"{name}: {a:.1f} became {b:.1f}")
    counts = (("handles", [one.handles for one in warm]), ("threads", [one.threads for one in warm]))
    for name, values in counts:
        before, after = max(values[:third]), max(values[-third:])
        lines.append(f"| {name}, most | {before} | {after} | {after - before:+d} | {SPARE_HANDLES:+d} |")
        if after > before + SPARE_HANDLES:
            broken.append(f"{name}: {before} became {after}")
    return lines, broken


def soak(minutes: float, clients: int, **environment: str) -> tuple[list[str], list[str]]:
    """Run the server and the load; return the report, and what is wrong."""
    with serve(**environment) as served:
        seen = asyncio.run(run(served, minutes, clients))
        tracebacks = [line for line in served.log() if "Traceback" in line]
    lines, broken = judge(seen.samples, minutes)
    counts = ", ".join(f"{name} {count}" for name, count in sorted(seen.answers.items()))
    lines += ["", f"{seen.answers.total()} requests by {clients} clients in {minutes:g} minutes: {counts}."]
    return lines, [*seen.wrong[:20], *broken, *tracebacks[:1]]


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--model-dir", default="models/demo")
    options = parser.parse_args()
    lines, wrong = soak(options.minutes, options.clients, MODEL_DIR=options.model_dir)
    print("\n".join(lines))
    for one in wrong:
        print(f"WRONG: {one}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
