"""A batch against two real servers behind a proxy that drops connections, is busy, and loses one of the two."""

import asyncio
import random
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks.server import Served, serve
from generation.config import ROOT
from tests.support.batch import ids, read, request, write
from tests.support.scripted import error, http

LINES = 120
FATES = {"dropped": 8, "busy": 8, "lost": 8, "cut": 6, "sent": 70}
DIES_AFTER, NOTICED = 30, 8


class Proxy:
    """Passes requests to the servers alternately, with a fate for each.

    The second server dies after a while. The proxy notices, as a load balancer does, after some requests to it.
    """

    def __init__(self, servers: list[Served]) -> None:
        self._servers = servers
        self._dice = random.Random(1)  # noqa: S311 - no secret
        self.fates = Counter[str]()
        self.reached = Counter[int]()
        self.missed = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                content = await reader.readexactly(int(length.split(b":")[1]))
                fate = self._dice.choices(list(FATES), list(FATES.values()))[0] if b"/health" not in head else "sent"
                self.fates[fate] += 1
                if fate == "dropped":
                    break
                said = error(429, "overloaded", "Retry-After: 0") if fate == "busy" else await self._pass(head, content)
                if fate == "lost":
                    break
                writer.write(said[: len(said) // 2] if fate == "cut" else said)
                await writer.drain()
                if fate == "cut":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _pass(self, head: bytes, content: bytes) -> bytes:
        """Return what a server says; a page where it is not there, as the platform's front does."""
        if sum(self.reached.values()) == DIES_AFTER:
            self._servers[1].process.send_signal(signal.SIGKILL)
        number = self.fates.total() % 2 if self.missed < NOTICED else 0
        self.reached[number] += 1
        address = urlsplit(self._servers[number].url)
        try:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                writer.write(head[:-2] + b"connection: close\r\n\r\n" + content)
                whole = await reader.read()
            finally:
                writer.close()
        except OSError:
            whole = b""
        self.missed += not whole
        return whole.replace(b"connection: close\r\n", b"") or http(502, b"<html>Bad Gateway</html>")


@pytest.fixture
def second() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.mark.heavy
async def test_every_line_arrives_once(tmp_path: Path, served: Served, second: Served) -> None:
    source = write(tmp_path / "in", [request(f"r{i}", prompt=f"Once {i}", max_tokens=6) for i in range(LINES)])
    out = tmp_path / "out"
    proxy = Proxy([served, second])
    listener = await asyncio.start_server(proxy.talk, "127.0.0.1", 0)
    async with listener:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/api"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "generation", "batch", str(source), str(out), "--url", url,
            cwd=ROOT, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, said
    assert sorted(ids(out)) == sorted(f"r{i}" for i in range(LINES))
    assert {line["response"]["status_code"] for line in read(out)} == {200}
    assert all(proxy.fates[fate] for fate in FATES), proxy.fates
    assert min(proxy.reached.values()) > DIES_AFTER / 3
    assert proxy.missed >= NOTICED
    assert second.process.wait() == -signal.SIGKILL
