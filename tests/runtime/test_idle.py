"""Idle connections stay open longer than the other end keeps them: the host before the worker, clients before us."""

import select
import socket
import time

import httpx
import pytest

from benchmarks.server import Served
from tests.runtime.launch import Runtime

HOST_S = 70  # longer than the minute for which the Functions host keeps an idle connection


def _closed_within(url: str, path: str, seconds: float) -> bool:
    """Ask once, leave the connection idle, and return whether the server closes it within `seconds`."""
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port or 80), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 200"
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([connection], [], [], left)[0] and not connection.recv(65536):
                return True
        return False


@pytest.mark.heavy
def test_the_worker_keeps_an_idle_connection(runtime: Runtime) -> None:
    assert not _closed_within(runtime.report["worker_url"], "/openapi.json", HOST_S)


@pytest.mark.heavy
def test_the_embedded_host_keeps_an_idle_connection(embedded: Served) -> None:
    assert not _closed_within(embedded.url, "/api/health", HOST_S)
