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
_LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
PING = ": ping\n\n"


def event(data: Any) -> str:
    """Return one server-sent event. Characters that many clients treat as the end of a line are escaped."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    if not text.isascii():
        text = text.translate(_LINE_ENDS)
    return f"data: {text}\n\n"


class EventStream(StreamingResponse):
    """Sends the items of `stream` as events made by `encode`, then `done`; an error in the form of the exchange.

    After `keep_alive_s` seconds of silence it sends a comment line. However the response ends, it cancels the remaining
    work and closes the request's record.

    Args:
        exchange: the request.
        stream: the items from the engine.
        encode: returns the event of an item, or an empty string.
        keep_alive_s: seconds of silence before a comment line.
        first: events to send before all others.
        last: returns the events to send after all items.
        done: what ends the stream; not every contract has an event for it.
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
        done: str = DONE,
    ) -> None:
        self._record = exchange.record
        self._error_form = exchange.error_form
        self._done = done
        self._stream = stream
        self._error_code: str | None = None
        super().__init__(
            self._events(encode, keep_alive_s, first, last),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send the response; disconnect a client that does not read it within `LIMIT_S`."""
        ended = "cancelled"  # by the server, unless the send below completes
        try:
            with DisconnectWatch(receive, self._stream) as watch:
                async with asyncio.timeout(LIMIT_S):
                    ended = await self._send(send, watch)
        except TimeoutError:
            ended = DeadlineError.code
        except OSError:  # servers of ASGI 2.4 report a client disconnect this way
            ended = CLIENT_LEFT
        finally:
            self._record.answered(self.status_code, ended or self._error_code)

    async def _send(self, send: Send, watch: DisconnectWatch) -> str:
        """Send everything; return the error code if something prevented it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for text in self.body_iterator:
            if watch.left:
                break
            await send({"type": "http.response.body", "body": str(text).encode(), "more_body": True})
        # A disconnect that the server noticed during the last event reaches the watch in the next turn of the loop.
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
            if text := last() + self._done:
                yield text
        except ApiError as error:
            yield self._failure(error)
        except Exception:
            log.exception("a stream failed")
            yield self._failure(ApiError("an unexpected error ended this stream"))

    def _failure(self, error: ApiError) -> str:
        self._error_code = error.code
        return event(self._error_form(error)[1]) + self._done
