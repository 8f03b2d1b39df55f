"""An HTTP client for many concurrent requests to one server, built on asyncio and h11."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from generation import __version__
from generation.cli.connection_errors import explain
from generation.cli.deployment import key_headers

CONNECT_S = 30.0
LARGEST_BODY = 64 << 20
PIECE = 1 << 16


class ConnectionBrokenError(Exception):
    """There is no response: the connection failed or broke, or the request took too long."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A response. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._protocol = h11.Connection(h11.CLIENT)
        self.used = False

    async def ask(self, head: h11.Request, content: bytes) -> Reply:
        """Send a request, and read its response.

        Raises:
            OSError: the connection broke; it cannot be used again.
            h11.ProtocolError: the response is not HTTP; the connection cannot be used again.
        """
        for part in (head, h11.Data(content), h11.EndOfMessage()):
            self._writer.write(self._protocol.send(part) or b"")
        await self._writer.drain()
        response, body = None, bytearray()
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > LARGEST_BODY:
                    raise ConnectionResetError(f"the response is larger than {LARGEST_BODY >> 20} MiB")
        if response is None:
            raise ConnectionResetError("there is no response")
        self.used = True
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        return Reply(response.status_code, headers, bytes(body))

    async def _event(self) -> h11.Event:
        """Return the next part of the response."""
        ended = False
        while True:
            try:
                event = self._protocol.next_event()
            except h11.RemoteProtocolError:
                if not ended:
                    raise
                raise ConnectionResetError("the connection ended before the response did") from None
            if isinstance(event, h11.Event):
                return event
            data = await self._reader.read(PIECE)
            ended = not data
            self._protocol.receive_data(data)

    def reuse(self) -> bool:
        """Prepare for the next request; return False if the server closes the connection."""
        if self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE:
            self._protocol.start_next_cycle()
            return True
        return False

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


class Client:
    """Sends requests to one server, with one connection for each concurrent request.

    Args:
        url: address to which all paths are relative.
        key: function key or API key to send with every request.
        timeout_s: maximum seconds that one request may take.
    """

    def __init__(self, url: str, key: str | None, timeout_s: float) -> None:
        parts = urlsplit(url)
        self.prefix = parts.path.rstrip("/")
        self._host, self._authority = parts.hostname or "", parts.netloc.rpartition("@")[2]
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._timeout_s = timeout_s
        self._headers = [("Host", self._authority), ("User-Agent", f"distilgpt2-functions/{__version__}")]
        self._headers += key_headers(key).items()
        self._idle: list[_Connection] = []

    async def send(self, method: str, path: str, content: bytes = b"") -> Reply:
        """Send a request.

        Raises:
            ConnectionBrokenError: there is no response.
        """
        head = h11.Request(
            method=method,
            target=self.prefix + path,
            headers=[*self._headers, ("Content-Type", "application/json"), ("Content-Length", str(len(content)))],
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._idle:
                    # The server may have closed an idle connection, so a failure leads to a second try on a new one.
                    with contextlib.suppress(OSError, h11.ProtocolError):
                        return await self._ask(self._idle.pop(), head, content)
                return await self._ask(await self._connect(), head, content)
        except TimeoutError:
            raise ConnectionBrokenError(f"no response within {self._timeout_s:g} s") from None
        except (OSError, h11.ProtocolError) as error:
            raise ConnectionBrokenError(explain(error)) from None

    def close(self) -> None:
        """Close all idle connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _connect(self) -> _Connection:
        async with asyncio.timeout(CONNECT_S):
            return _Connection(*await asyncio.open_connection(self._host, self._port, ssl=self._tls))

    async def _ask(self, connection: _Connection, head: h11.Request, content: bytes) -> Reply:
        kept = False
        try:
            reply = await connection.ask(head, content)
            kept = connection.reuse()
        finally:
            if kept:
                self._idle.append(connection)
            else:
                connection.close()
        return reply
