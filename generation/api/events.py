"""Answers as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from generation.api.exchange import CLIENT_LEFT, LIMIT_S, DisconnectWatch, Exchange
from generation.engine.request import Item
from generation.engine.stream import TokenStream
from generation.errors import ApiError, DeadlineError

log = logging.getLogger("generation.requests")

DONE = "data: [DONE]\n\n"
PING = ": ping\n\n"


# Characters that end no line of an event, but do for many clients: those that read lines as Python's `splitlines` does.
LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def event(data: Any) -> str:
    """Return one server-sent event."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character, escaped in LINE_ENDS.items():
        text = text.replace(character, escaped)
    return f"data: {text}\n\n"


class EventStream(StreamingResponse):
    """Sends the events that `encode` makes of the items of `stream`, ended by ``data: [DONE]``.

    After `keep_alive_s` seconds of silence a comment line is sent. When the response ends, however it ends, so does the
    work, and the request's record is told.

    Args:
        exchange: the request.
        stream: what the engine yields for it.
        encode: returns the event of an item, or nothing.
        keep_alive_s: seconds.
        first: events to send before all others.
        last: returns the events to send after all items.
    """

    def __init__(
        self,
        exchange: Exchange,
        stream: TokenStream,
        encode: Callable[[Item], str],
        keep_alive_s: float,
        *,
        first: str = "",
        last: Callable[[], str] = str,
    ) -> None:
        self._record = exchange.record
        self._stream = stream
        self._error_code: str | None = None
        super().__init__(
            self._events(encode, keep_alive_s, first, last),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send the response. A client that does not read all of it within `LIMIT_S` is cut off."""
        ended = "cancelled"  # by the server that calls this, unless it gets further
        try:
            with DisconnectWatch(receive, self._stream) as watch:
                async with asyncio.timeout(LIMIT_S):
                    ended = await self._send(send, watch)
        except TimeoutError:
            ended = DeadlineError.code
        except OSError:  # how servers of ASGI 2.4 report that the client has disconnected
            ended = CLIENT_LEFT
        finally:
            self._record.answered(self.status_code, ended or self._error_code)

    async def _send(self, send: Send, watch: DisconnectWatch) -> str:
        """Send everything; return what prevented it, if anything did."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for text in self.body_iterator:
            if watch.left:
                break
            await send({"type": "http.response.body", "body": str(text).encode(), "more_body": True})
        # A disconnect that the server has seen during the last event reaches the watch in the next turn of the loop.
        await asyncio.sleep(0)
        if watch.left:
            return CLIENT_LEFT
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return ""

    async def _events(
        self, encode: Callable[[Item], str], keep_alive_s: float, first: str, last: Callable[[], str]
    ) -> AsyncIterator[str]:
        try:
            if first:
                yield first
            while True:
                while not await self._stream.wait(keep_alive_s):
                    yield PING
                try:
                    item = await anext(self._stream)
                except StopAsyncIteration:
                    break
                if text := encode(item):
                    yield text
            yield last() + DONE
        except ApiError as error:
            self._error_code = error.code
            yield event(error.body()) + DONE
        except Exception:
            log.exception("a stream failed")
            self._error_code = ApiError.code
            yield event(ApiError("an unexpected error ended this stream").body()) + DONE
