"""Between HTTP and the contracts: reading bodies, answering errors, streaming events, noticing that a client left.

Nothing may raise out of a handler: on Functions that gives a bare 500 and can break the connection for others.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from generation.errors import ApiError, BodyTooLargeError, DeadlineError
from generation.requestlog import RequestRecord
from generation.stream import Item, TokenStream
from generation.telemetry import timelines

log = logging.getLogger("generation.requests")

# The load balancer gives up after 230 s without a byte. `functionTimeout` is unbounded, so this is what ends a handler.
LIMIT_S = 230.0
DONE = "data: [DONE]\n\n"


async def answer(name: str, request: Request, operation: Callable[[Request], Awaitable[Response]]) -> Response:
    """Run `operation` and return its response, or the response that its error stands for.

    One line is logged: now, or of a stream when it has ended.
    """
    record = RequestRecord(name, request.method, request.headers)
    timelines.set(record.timelines)
    try:
        response = await _within_limit(operation(request))
        if not isinstance(response, Response):
            raise TypeError(f"{name} returned {type(response).__name__} instead of a response")  # noqa: TRY301
    except ApiError as error:
        record.error_code = error.code
        response = JSONResponse(error.body(), error.status, error.headers())
    except ClientDisconnect:
        response = Response(status_code=499)  # nobody is there to read it
    except Exception:
        log.exception("request %s failed", record.id)
        unexpected = ApiError(f"an unexpected error happened; the log knows it as request {record.id}")
        record.error_code = unexpected.code
        response = JSONResponse(unexpected.body(), unexpected.status)
    record.status = response.status_code
    response.headers.update(record.headers())
    # Generated text may look like a page; no browser shall take an answer for one.
    response.headers["x-content-type-options"] = "nosniff"
    if isinstance(response, EventStream):
        response.record = record
    else:
        record.finish()
    return response


async def _within_limit(operation: Awaitable[Response]) -> Response:
    limit = asyncio.timeout(LIMIT_S)
    try:
        async with limit:
            return await operation
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineError(f"the request could not be answered within {LIMIT_S:g} s") from None


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Read the body.

    Raises:
        BodyTooLargeError: it is larger than the limit; the rest is not read.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit_bytes:
            raise BodyTooLargeError(f"the body is larger than {limit_bytes} bytes (setting MAX_BODY_KB)")
        parts.append(part)
    return b"".join(parts)


async def collect(request: Request, stream: TokenStream) -> list[Item]:
    """Return everything that the stream yields; a client disconnect stops the work and returns what exists by then.

    After the body, ASGI's `receive` waits for the disconnect; what is left of a body that nobody reads is dropped.
    """
    watcher = asyncio.create_task(_cancel_on_disconnect(request, stream))
    try:
        return await stream.rest()
    finally:
        stream.cancel()
        # Not awaited: a task can swallow its cancellation, and a finished answer must not wait for it.
        watcher.cancel()


async def _cancel_on_disconnect(request: Request, stream: TokenStream) -> None:
    try:
        while (await request.receive())["type"] != "http.disconnect":
            pass
    except Exception:
        log.exception("a client disconnect could not be watched for")
    else:
        stream.cancel()


def event(data: Any) -> str:
    """Return one server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


class EventStream(StreamingResponse):
    """Answers with the events that `encode` makes of what comes out of `stream`, ended by ``data: [DONE]``.

    When nothing has come for `keep_alive_s` seconds a comment line goes out. When the response ends, so does the work.
    """

    def __init__(
        self,
        stream: TokenStream,
        encode: Callable[[Item], str],
        keep_alive_s: float,
        *,
        first: str = "",
        last: Callable[[], str] = str,
    ) -> None:
        self._stream = stream
        self.record: RequestRecord | None = None
        super().__init__(
            self._events(encode, keep_alive_s, first, last),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; a reader that is too slow to take it within `LIMIT_S` is cut off."""
        limit = asyncio.timeout(LIMIT_S)
        try:
            async with limit:
                await super().__call__(scope, receive, send)
        except TimeoutError:
            if not limit.expired():
                raise
            self._failed(DeadlineError(""))
        finally:
            if self.record is not None and self.record.error_code is None and not self._stream.mailbox.closed:
                self.record.error_code = "client_left"
            self._stream.cancel()
            if self.record is not None:
                self.record.finish()

    async def _events(
        self, encode: Callable[[Item], str], keep_alive_s: float, first: str, last: Callable[[], str]
    ) -> AsyncIterator[str]:
        upcoming: asyncio.Future[Item] | None = None
        try:
            if first:
                yield first
            upcoming = asyncio.ensure_future(anext(self._stream))
            while True:
                done, _ = await asyncio.wait({upcoming}, timeout=keep_alive_s)
                if not done:
                    yield ": ping\n\n"
                    continue
                try:
                    item = upcoming.result()
                except StopAsyncIteration:
                    break
                if text := encode(item):
                    yield text
                upcoming = asyncio.ensure_future(anext(self._stream))
            yield last() + DONE
        except ApiError as error:
            self._failed(error)
            yield event(error.body()) + DONE
        except Exception:
            log.exception("a stream failed")
            self._failed(ApiError(""))
            yield event(ApiError("an unexpected error ended this stream").body()) + DONE
        finally:
            self._stream.cancel()
            if upcoming is not None:
                upcoming.cancel()

    def _failed(self, error: ApiError) -> None:
        if self.record is not None:
            self.record.error_code = error.code
