"""Run an HTTP server that sends given bytes and records its requests."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

HEALTHY = b'{"model": {"name": "m"}}'


def http(status: int, body: bytes = b"{}", *headers: str) -> bytes:
    """Return the bytes of a response."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def error(status: int, code: str, *headers: str) -> bytes:
    return http(status, json.dumps({"error": {"message": "m", "code": code}}).encode(), *headers)


@dataclass(slots=True)
class Asked:
    """A received request. `connection` is the number of its connection, from 1."""

    connection: int
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(slots=True)
class Scripted:
    """The server. `say` returns the bytes to send, or None to close the connection."""

    say: Callable[[Asked], bytes | None]
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    talks: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self.talks[task] = writer
        self.connections += 1
        number = self.connections
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().strip().split("\r\n")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                content = await reader.readexactly(int(headers.get("content-length", 0)))
                asked = Asked(number, first.split()[1], headers, json.loads(content or b"null"))
                self.asked.append(asked)
                said = http(200, HEALTHY) if asked.path.endswith("/health") else self.say(asked)
                if said is None:
                    break
                writer.write(said)
                await writer.drain()
                if b"connection: close" in said:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted(say: Callable[[Asked], bytes | None]) -> AsyncIterator[Scripted]:
    """Run the server on a free port of 127.0.0.1 until the block ends."""
    one = Scripted(say)
    server = await asyncio.start_server(one.talk, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        for writer in one.talks.values():
            writer.close()
        await asyncio.gather(*one.talks)
