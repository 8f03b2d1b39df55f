"""Streams arrive as they are made, and work ends when nobody waits for it.

Each test asks for more work than can be done in the time that its client is ready to wait. An answer therefore shows
that the first event was not held back, or that the work before it was given up.
"""

import asyncio
from typing import Any

import httpx

CONTEXT_LEFT = 8
# Far less than the work that was left behind would take; comment lines would keep a client waiting for ever.
SOON_S = 20
ONE_TOKEN = {"prompt": "Once", "max_new_tokens": 1}


async def _minutes_of_work(client: httpx.AsyncClient, *, stream: bool) -> dict[str, Any]:
    """Return a body for /v1/completions that fills every row of the batch for minutes, and half of the queue."""
    context = (await client.get("/health")).json()["model"]["context"]
    return {
        "prompt": [[0]] * 120,
        "n": 16,
        "max_tokens": context - CONTEXT_LEFT,
        "temperature": 0,
        "ignore_eos": True,
        "stream": stream,
    }


async def _waiting(client: httpx.AsyncClient) -> "asyncio.Task[httpx.Response]":
    """Return a small request that waits behind the work that others have begun."""
    for _ in range(100):
        task = asyncio.create_task(client.post("/generate", json=ONE_TOKEN))
        done, _ = await asyncio.wait({task}, timeout=0.3)
        if not done:
            return task
    raise AssertionError("nothing holds up a small request")


async def test_the_first_event_arrives_before_the_last_is_made(host_client: httpx.AsyncClient) -> None:
    body = await _minutes_of_work(host_client, stream=True)
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
    body = await _minutes_of_work(host_client, stream=True)
    async with host_client.stream("POST", "/v1/completions", json=body) as response:
        events = response.aiter_raw()  # dropping the iterator would close the connection
        await anext(events)
        waiting = await _waiting(host_client)
    assert (await asyncio.wait_for(waiting, SOON_S)).status_code == 200


async def test_leaving_before_the_answer_ends_its_work(host_client: httpx.AsyncClient) -> None:
    body = await _minutes_of_work(host_client, stream=False)
    leaving = asyncio.create_task(host_client.post("/v1/completions", json=body))
    waiting = await _waiting(host_client)
    leaving.cancel()
    assert (await asyncio.wait_for(waiting, SOON_S)).status_code == 200


async def test_leaving_the_queue_gives_up_the_place(host_client: httpx.AsyncClient) -> None:
    body = await _minutes_of_work(host_client, stream=True)
    async with host_client.stream("POST", "/v1/completions", json=body) as response:
        events = response.aiter_raw()  # dropping the iterator would close the connection
        await anext(events)
        queued = asyncio.create_task(host_client.post("/v1/completions", json=body))
        waiting = await _waiting(host_client)
        queued.cancel()
    assert (await asyncio.wait_for(waiting, SOON_S)).status_code == 200
