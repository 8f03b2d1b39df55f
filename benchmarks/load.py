"""Measure a server under many concurrent clients: throughput, time to first token, and gaps between tokens.

    python -m benchmarks.load --model-dir models/demo --clients 1 4 16 64

Starts the embedded host. Every client streams requests one after the other. Rounds with different numbers of clients
alternate, so that other load affects all of them equally. ``--stall`` measures the largest gap of running streams while
long prompts arrive. ``--abandon`` measures the speed before and after clients disconnect from that many streams.
Bounded in count and time; prints a Markdown table.
"""

import argparse
import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.figures import percentile
from benchmarks.server import serve

PROMPT = "Once upon a time there was a little girl named Lily. She liked to"


@dataclass(slots=True)
class Seen:
    """Observations of one round; times are in seconds."""

    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    tokens: int = 0
    wall: float = 0.0


async def stream(
    client: httpx.AsyncClient, url: str, body: dict[str, object], seen: Seen, route: str = "/generate"
) -> None:
    """Send one request, and record the times of its events, which hold a token each."""
    began = last = time.perf_counter()
    first = True
    async with client.stream("POST", url + route, json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise RuntimeError(event["error"]["message"])
            now = time.perf_counter()
            if first:
                seen.first.append(now - began)
            else:
                seen.gaps.append(now - last)
            first, last = False, now
    # Without end-of-text tokens and stop strings, every request generates exactly the requested number of tokens.
    seen.tokens += int(str(body["max_new_tokens" if route == "/generate" else "max_tokens"]))


async def round_of(url: str, clients: int, requests: int, body: dict[str, object]) -> Seen:
    """Run `clients` clients that send `requests` requests each and start at the same time."""
    seen = Seen()
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=300, limits=limits) as client:

        async def one(number: int) -> None:
            for turn in range(requests):
                await stream(client, url, body | {"seed": 1000 * number + turn}, seen)

        began = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(clients)))
        seen.wall = time.perf_counter() - began
    return seen


async def stall(url: str, long_prompt: str, body: dict[str, object]) -> tuple[float, float, float]:
    """Return the gaps of 4 streams in seconds: median alone; median and largest while long prompts arrive."""
    alone = await round_of(url, 4, 1, body)
    seen = Seen()
    async with httpx.AsyncClient(timeout=300) as client:
        streams = [asyncio.ensure_future(stream(client, url, body, seen)) for _ in range(4)]
        while len(seen.first) < len(streams):  # noqa: ASYNC110 - a benchmark may look often
            await asyncio.sleep(0.001)
        while not all(one.done() for one in streams):
            answer = await client.post(f"{url}/generate", json={"prompt": long_prompt, "max_new_tokens": 1})
            answer.raise_for_status()
        await asyncio.gather(*streams)
    return statistics.median(alone.gaps), statistics.median(seen.gaps), max(seen.gaps)


async def abandon(url: str, count: int, body: dict[str, object]) -> str:
    """Return the throughput of 4 clients before and after clients disconnect from `count` streams."""
    before = await round_of(url, 4, 4, body)
    async with httpx.AsyncClient(timeout=300) as client:
        for _ in range(count):
            async with client.stream("POST", f"{url}/generate", json=body | {"max_new_tokens": 400}) as response:
                await anext(response.aiter_lines())
    after = await round_of(url, 4, 4, body)
    return f"{before.tokens / before.wall:.0f}, {after.tokens / after.wall:.0f}"


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model-dir", default="models/demo")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--tokens", type=int, default=64, help="new tokens of each request")
    parser.add_argument("--requests", type=int, default=4, help="requests of each client in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stall", type=int, metavar="TOKENS", help="also measure gaps while prompts of TOKENS arrive")
    parser.add_argument("--abandon", type=int, metavar="N", help="also measure speed around N abandoned streams")
    options = parser.parse_args()
    body: dict[str, object] = {"prompt": PROMPT, "max_new_tokens": options.tokens, "ignore_eos": True,
                               "stream": True, "return_full_text": False}  # fmt: skip
    rounds: dict[int, list[Seen]] = {clients: [] for clients in options.clients}
    with serve(MODEL_DIR=str(Path(options.model_dir).resolve())) as served:
        asyncio.run(round_of(served.url, 16, 1, body))
        before = resident_mib(served.process.pid)
        for _ in range(options.rounds):
            for clients in options.clients:
                rounds[clients].append(asyncio.run(round_of(served.url, clients, options.requests, body)))
        after = resident_mib(served.process.pid)
        print("| clients | tokens/s | first token, ms: median | 99 % | gap, ms: median | 99 % |")
        print("|---|---|---|---|---|---|")
        for clients, seen in rounds.items():
            speed = statistics.median(one.tokens / one.wall for one in seen)
            first = [value * 1000 for one in seen for value in one.first]
            gaps = [value * 1000 for one in seen for value in one.gaps]
            cells = (speed, statistics.median(first), percentile(first, 0.99), statistics.median(gaps),
                     percentile(gaps, 0.99))  # fmt: skip
            print(f"| {clients} | " + " | ".join(f"{value:.1f}" for value in cells) + " |")
        print(f"\nresident memory: {before:.0f} MiB before, {after:.0f} MiB after")
        if options.stall:
            word = httpx.post(f"{served.url}/tokenize", json={"prompt": " the" * options.stall}, timeout=60).json()
            prompt = " the" * (options.stall * options.stall // word["count"])
            long_body = body | {"max_new_tokens": 300}
            alone, median, worst = asyncio.run(stall(served.url, prompt, long_body))
            print(
                f"gap of 4 running streams: {alone * 1000:.1f} ms alone; "
                f"while prompts of {options.stall} tokens arrive {median * 1000:.1f} ms, at most {worst * 1000:.1f} ms"
            )
        if options.abandon:
            speeds = asyncio.run(abandon(served.url, options.abandon, body))
            print(f"tokens/s of 4 clients before and after {options.abandon} abandoned streams: {speeds}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
