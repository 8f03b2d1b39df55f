"""URLs and headers of every size: what the Functions host takes is taken, what it refuses is refused alike."""

import socket
from typing import Any

import httpx
import pytest

from benchmarks.server import Served
from generation.cli.host_limits import HEADER_BYTES, HEADERS, LINE_BYTES, refusal


def _scope(path: int = 1, query: int = 0, headers: tuple[int, ...] = ()) -> dict[str, Any]:
    named = [(b"x", b"v" * (size - len("x: \r\n"))) for size in headers]
    return {"method": "GET", "raw_path": b"/" * path, "query_string": b"q" * query, "headers": named}


LONGEST = LINE_BYTES - len("GET  HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        (_scope(), None),
        (_scope(LONGEST), None),
        (_scope(LONGEST + 1), 414),
        (_scope(LONGEST - 11, 10), None),
        (_scope(LONGEST - 10, 10), 414),
        (_scope(headers=(HEADER_BYTES - 2,)), None),
        (_scope(headers=(HEADER_BYTES - 1,)), 431),
        (_scope(headers=(20,) * HEADERS), None),
        (_scope(headers=(20,) * (HEADERS + 1)), 431),
    ],
)
def test_limits(scope: dict[str, Any], status: int | None) -> None:
    assert refusal(scope) == status


def _status(served: Served, target: str, *headers: str) -> int:
    url = httpx.URL(served.url)
    lines = [f"GET {target} HTTP/1.1", "Host: x", *headers]
    with socket.create_connection((url.host, url.port or 80), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(connection.recv(65536).split()[1])


@pytest.mark.parametrize("size", [9_000, 60_000])
def test_a_long_url_is_refused(served: Served, size: int) -> None:
    assert _status(served, "/api/generate/" + "x" * size) == 414


@pytest.mark.parametrize("size", [33_000, 60_000])
def test_long_headers_are_refused(served: Served, size: int) -> None:
    assert _status(served, "/api/ready", "X-Long: " + "x" * size) == 431


def test_many_headers_are_refused(served: Served) -> None:
    assert _status(served, "/api/ready", *[f"X-{i}: x" for i in range(HEADERS + 1)]) == 431


def test_what_the_host_takes_is_taken(served: Served) -> None:
    assert _status(served, "/api/ready?" + "x" * 8000, "X-Long: " + "x" * 32_000) == 200


def test_a_url_without_an_end_is_refused(served: Served) -> None:
    """The server refuses it at its own limit; what it answers is not overtaken by a reset, because all was read."""
    url = httpx.URL(served.url)
    with socket.create_connection((url.host, url.port or 80), timeout=30) as connection:
        connection.sendall(b"GET /" + b"x" * 66_000)
        assert connection.recv(65536).startswith(b"HTTP/1.1 414 ")


def test_headers_without_an_end_are_refused(served: Served) -> None:
    url = httpx.URL(served.url)
    with socket.create_connection((url.host, url.port or 80), timeout=30) as connection:
        connection.sendall(b"GET /api/ready HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 66_000)
        assert connection.recv(65536).startswith(b"HTTP/1.1 431 ")
