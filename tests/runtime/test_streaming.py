"""Streams arrive as they are made, and work ends when the client disconnects.

Each test asks for more work than can be done in the time that its client is ready to wait. An answer therefore shows
that the first event was not held back, and an idle engine that the work before it was given up.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import httpx

from generation.config import Settings

CONTEXT_LEFT = 8
CHOICES = 16
# Far less than the work that was left behind would take.
SOON_S = 10
GAUGES = re.compile(r"^generation_(running_sequences|waiting_requests) (\d+)", re.MULTILINE)


async def _a_minute_of_work(client: httpx.AsyncClient, *, stream: bool) -> dict[str, Any]:
    """Return a body for /v1/completions that fills every row of the batch, and costs as much as a request may."""
    tokens = (await client.get("/health")).json()["model"]["context"] - CONTEXT_LEFT
    return {
        "prompt": [[0]] * (Settings().max_cost // (1 + 2 * CHOICES * tokens)),  # computed and reported
        "n": CHOICES,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": stream,
    }


async def _until(client: httpx.AsyncClient, reached: Callable[[int, int], bool]) -> None:
    """Ask the server for its sequences that run and its requests that wait until both are as they should be."""
    async with asyncio.timeout(SOON_S):
        while True:
            gauges = dict(GAUGES.findall((await client.get("/metrics")).text))
            if reached(int(gauges["running_sequences"]), int(gauges["waiting_requests"])):
                return


async def _until_idle(client: httpx.AsyncClient) -> None:
    await _until(client, lambda running, waiting: running == waiting == 0)


async def test_the_first_event_arrives_before_the_last_is_made(host_client: httpx.AsyncClient) -> None:
    body = await _a_minute_of_work(host_client, stream=True)
    async with host_client.stream("POST", "/v1/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        assert (await anext(response.aiter_text())).startswith("data: {")


async def test_events_arrive_one_at_a_time(host_client: httpx.AsyncClient) -> None:
    body = {"prompt": "Once", "max_new_tokens": 12, "ignore_eos": True, "seed": 3, "stream": True}
    async with host_client.stream("POST", "/generate", json=body) as response:
        pieces = [piece async for piece in response.aiter_raw()]
    # Two events may share a packet when the reader is late; all of them in one would be a buffer.
    assert len(pieces) > b"".join(pieces).count(b"\n\n") / 2


async def test_leaving_a_stream_ends_its_work(host_client: httpx.AsyncClient) -> None:
    body = await _a_minute_of_work(host_client, stream=True)
    async with host_client.stream("POST", "/v1/completions", json=body) as response:
        events = response.aiter_raw()  # dropping the iterator would close the connection
        await anext(events)
        await _until(host_client, lambda running, waiting: running >= CHOICES and waiting == 1)
    await _until_idle(host_client)


async def test_leaving_before_the_answer_ends_its_work(host_client: httpx.AsyncClient) -> None:
    body = await _a_minute_of_work(host_client, stream=False)
    leaving = asyncio.create_task(host_client.post("/v1/completions", json=body))
    await _until(host_client, lambda running, waiting: running >= CHOICES and waiting == 1)
    leaving.cancel()
    await _until_idle(host_client)


async def test_leaving_the_queue_gives_up_the_place(host_client: httpx.AsyncClient) -> None:
    body = await _a_minute_of_work(host_client, stream=True)
    async with host_client.stream("POST", "/v1/completions", json=body) as response:
        events = response.aiter_raw()  # dropping the iterator would close the connection
        await anext(events)
        queued = asyncio.create_task(host_client.post("/v1/completions", json=body))
        await _until(host_client, lambda _, waiting: waiting == 2)
        queued.cancel()
        await _until(host_client, lambda _, waiting: waiting == 1)
    await _until_idle(host_client)
