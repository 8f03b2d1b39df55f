"""How many connections there may be, and for how long they may keep silent."""

import asyncio
import logging
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from benchmarks.server import serve
from generation.cli import connections
from generation.cli.connections import LimitedConnection, limits
from generation.cli.host import Server, bind

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("descriptors", "expected"),
    [(64, (24, 8)), (1024, (864, 128)), (1 << 20, (1024, 128)), (resource.RLIM_INFINITY, (1024, 128))],
)
def test_the_limits_fit_into_the_descriptors(descriptors: int, expected: tuple[int, int]) -> None:
    assert limits(descriptors) == expected


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once, but for a path whose answer never comes."""
    if scope["path"] == "/never":
        await asyncio.Event().wait()
    await PlainTextResponse("served")(scope, receive, send)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with bind("127.0.0.1", 0) as one:
        yield one


async def _talk(listener: socket.socket, data: bytes) -> bytes:
    """Return what comes until the server closes."""
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


async def _serve(listener: socket.socket) -> tuple[Server, "asyncio.Task[None]"]:
    server = Server(_app, "127.0.0.1", 0, lambda _: None)
    listener.listen()
    return server, asyncio.create_task(server.serve([listener]))


@pytest.mark.parametrize("data", [b"", b"GET / HT", GET, GET + b"GET"])
async def test_a_head_that_does_not_come_closes_the_connection(
    data: bytes, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.05)
    server, serving = await _serve(listener)
    server.config.timeout_keep_alive = 0
    answer = await _talk(listener, data)
    assert answer.count(b"served") == data.count(GET)
    server.should_exit = True
    await serving


async def test_the_answer_may_take_longer_than_the_head(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.01)
    server, serving = await _serve(listener)
    waiting = asyncio.create_task(_talk(listener, GET.replace(b"/ ", b"/never ")))
    assert b"served" not in await _talk(listener, b"GET")  # it was closed after the time for a head
    assert not waiting.done()
    waiting.cancel()
    server.should_exit = server.force_exit = True
    await serving


async def test_past_the_limit_a_connection_is_answered_and_closed_with_one_warning(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server, serving = await _serve(listener)
    monkeypatch.setattr(LimitedConnection, "most", 2)
    monkeypatch.setattr(LimitedConnection, "warned", float("-inf"))
    caplog.set_level(logging.WARNING)
    kept = [await asyncio.open_connection(*listener.getsockname()) for _ in range(2)]
    for _, writer in kept:
        writer.write(GET)
    for reader, _ in kept:
        await reader.readuntil(b"served")
    for _ in range(3):
        assert (await _talk(listener, b"")).startswith(b"HTTP/1.1 503 ")
    assert caplog.text.count("more are refused") == 1
    kept[0][1].close()
    await kept[0][1].wait_closed()
    while len(server.server_state.connections) > 1:  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0)
    assert b"served" in await _talk(listener, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    kept[1][1].close()
    server.should_exit = True
    await serving


@pytest.mark.heavy
def test_where_descriptors_are_few_idle_connections_fill_neither_the_log_nor_the_server(tmp_path: Path) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nulimit -n 64\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    with serve(python=str(wrapper)) as served, ExitStack() as stack:
        url = httpx.URL(served.url)
        with httpx.Client(base_url=served.url, limits=httpx.Limits(keepalive_expiry=None)) as client:
            assert client.get("/health").status_code == 200
            for _ in range(80):
                stack.enter_context(socket.create_connection((url.host, url.port or 80)))
            assert client.get("/health").status_code == 200
        log = served.log()
    assert not [line for line in log if "Traceback" in line]
    assert len(log) < 10
