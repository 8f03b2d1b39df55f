"""One HTTP request and its answer: reads the body, submits to the engine, and ends the request.

This module and `EventStream` report every end of a request to its record: completion, errors, the time limit, client
disconnects and shutdown. The record writes the request's log line, metrics and spans once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Self

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive

from generation.api.slices import one_at_a_time
from generation.engine.engine import Engine
from generation.engine.request import GenerationRequest, Item
from generation.engine.stream import TokenStream
from generation.errors import BodyTooLargeError, ErrorForm, SlowRequestError, UnsupportedEncodingError, openai_form
from generation.observe.record import RequestRecord

log = logging.getLogger("generation.requests")

# The load balancer closes a connection after 230 s without a byte. `functionTimeout` is unbounded, so this limit ends a
# handler.
LIMIT_S = 230.0
# Maximum time for a body to arrive; then its connection is closed.
BODY_S = 60.0
LARGE_BYTES = 1 << 16
CLIENT_LEFT = "client_left"


class Exchange:
    """One HTTP request and its work in the engine.

    Attributes:
        error_form: returns the status and the body of an error, as the contract wants them.
    """

    def __init__(
        self, name: str, request: Request, route: str | None = None, error_form: ErrorForm = openai_form
    ) -> None:
        self.request = request
        self.error_form = error_form
        self.record = RequestRecord(name, request.method, request.headers, route)

    async def body(self, limit_bytes: int) -> bytes:
        """Read the body.

        Raises:
            BodyTooLargeError: it is larger than the limit; the rest is not read.
            UnsupportedEncodingError: it is compressed.
            SlowRequestError: it did not arrive within `BODY_S`.
            ClientDisconnect: the client disconnected before the end.
        """
        encoding = self.request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise UnsupportedEncodingError(f"the body is encoded as {encoding[:32]!r}: send it uncompressed")
        parts, size = [], 0
        try:
            async with asyncio.timeout(BODY_S):
                async for part in self.request.stream():
                    size += len(part)
                    if size > limit_bytes:
                        raise BodyTooLargeError(f"the body is larger than {limit_bytes} bytes (setting MAX_BODY_KB)")
                    parts.append(part)
        except TimeoutError:
            raise SlowRequestError(f"the body did not arrive within {BODY_S:g} s") from None
        if size > LARGE_BYTES:
            await one_at_a_time()  # validation takes milliseconds
        return b"".join(parts)

    def submit(self, engine: Engine, *requests: GenerationRequest) -> TokenStream:
        """Submit requests to the engine; raises what `Engine.submit` raises."""
        stream = engine.submit(*requests)
        self.record.follow(stream.timelines)
        stream.on_release(self.record.release)
        return stream

    async def collect(self, stream: TokenStream) -> list[Item]:
        """Return everything that the stream yields. A client disconnect stops the work.

        Raises:
            ClientDisconnect: the client disconnected before the end.
            ApiError: what the stream raises.
        """
        with DisconnectWatch(self.request.receive, stream) as watch:
            items = await stream.rest()
        if watch.left:
            raise ClientDisconnect
        return items


Operation = Callable[[Exchange], Awaitable[Response]]


class DisconnectWatch:
    """Cancels a stream when its client disconnects; a context manager around the reading of the stream.

    After the body, ASGI's `receive` waits for the disconnect, so polling is unnecessary. An unread rest of the body is
    dropped.
    """

    def __init__(self, receive: Receive, stream: TokenStream) -> None:
        self.left = False
        self._receive = receive
        self._stream = stream

    def __enter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.cancel()
        # Not awaited: a task can swallow its cancellation, and a finished answer must not wait for it.
        self._task.cancel()

    async def _watch(self) -> None:
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except Exception:
            log.exception("waiting for a client disconnect failed")
        else:
            self.left = True
            self._stream.cancel()
