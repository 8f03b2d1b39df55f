"""Memory per request, over many: what the runtime keeps, and what we do.

The runtime never forgets a request; that is its own, and the harness can make it forget. What is left then is ours.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from generation.config import ROOT
from tests.runtime.launch import KEY, Runtime, serve_runtime

# Blocks of Python's allocator: every object is one or more. What leaks leaves at least one behind for each request.
OURS_BLOCKS = 1.0
THEIRS_BLOCKS = 40
# Bytes of the process, which also see what is not Python's. Only many requests rise above the noise.
RESIDENT_BYTES = 5000
AT_ONCE = 8
# Always the same tokens: each that is met for the first time is remembered, once.
GENERATE = {"prompt": "Once upon a time", "max_new_tokens": 1, "do_sample": False}


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """The app under the official runtime, without the cache of prompts, which is meant to grow."""
    log_file = tmp_path_factory.mktemp("soaked") / "log.txt"
    with serve_runtime(ROOT / "function_app.py", log_file, PREFIX_CACHE_MB="0") as running:
        yield running


async def _one_request(client: httpx.AsyncClient, number: int) -> None:
    kind = number % 5
    if kind == 0:
        await client.get("/api/health")
    elif kind == 1:
        (await client.post("/api/generate", json=GENERATE | {"seed": number})).raise_for_status()
    elif kind == 2:
        (await client.post("/api/generate", json=GENERATE | {"stream": True})).raise_for_status()
    elif kind == 3:
        (await client.get("/api/generate/Once", params={"max_new_tokens": 1, "do_sample": False})).raise_for_status()
    else:
        await client.post("/api/generate", json={"number": number})


async def _requests(client: httpx.AsyncClient, count: int) -> None:
    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*(_one_request(client, number) for number in range(first, first + AT_ONCE)))


async def _measure(running: Runtime, count: int) -> tuple[float, float, float]:
    """Return what a request leaves behind: blocks of ours, blocks of the runtime's, and bytes of the process."""
    async with httpx.AsyncClient(
        base_url=running.report["url"], headers={"x-functions-key": KEY}, timeout=60
    ) as client:

        async def ask(what: str) -> dict[str, Any]:
            answer: dict[str, Any] = (await client.get(f"/admin/harness/{what}")).json()
            return answer

        await _requests(client, count // 2)
        await ask("forget")
        before = await ask("forget")
        await _requests(client, count)
        kept = await ask("report")
        after = await ask("forget")
    assert (kept["kept"], kept["invoking"]) == (count, 0)
    ours = after["blocks"] - before["blocks"]
    theirs = kept["blocks"] - after["blocks"]
    grown = kept["resident_bytes"] - before["resident_bytes"]
    return ours / count, theirs / count, grown / count


async def test_requests_leave_nothing_behind(soaked: Runtime) -> None:
    ours, theirs, _ = await _measure(soaked, 600)
    assert ours < OURS_BLOCKS, f"{ours:.2f} blocks a request are ours, {theirs:.2f} the runtime's"
    assert theirs < THEIRS_BLOCKS


@pytest.mark.heavy
async def test_thousands_of_requests_leave_nothing_behind(soaked: Runtime) -> None:
    ours, theirs, grown = await _measure(soaked, 4000)
    figures = f"{ours:.3f} blocks a request are ours, {theirs:.2f} the runtime's; the process grew by {grown:.0f} bytes"
    assert ours < OURS_BLOCKS / 10, figures
    assert grown < RESIDENT_BYTES, figures
