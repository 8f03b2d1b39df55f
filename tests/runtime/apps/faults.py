"""Handlers that do everything wrong: written as ours are, behind `handler`, and bare, which no app should do."""

from collections.abc import AsyncIterator
from typing import Any

import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response, StreamingResponse

from generation.api.events import EventStream
from generation.api.exchange import Exchange
from generation.api.handler import handler
from generation.engine.request import Item, Update
from generation.engine.stream import Bell, TokenStream
from generation.observe.timeline import Timeline

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


async def _raise(_: Any) -> Response:
    raise RuntimeError("inner workings")


async def _return(value: Any) -> Any:
    return value


async def _stream(exchange: Exchange) -> Response:
    stream = TokenStream(lambda: None, Bell(), [Timeline()])
    stream.mailbox.post(Update(0, "first"))
    stream.mailbox.post(Update(0, "second"))

    def encode(item: Item) -> str:
        if not isinstance(item, Update) or item.text == "second":
            raise RuntimeError("inner workings")
        return f"data: {item.text}\n\n"

    return EventStream(exchange, stream, encode, keep_alive_s=15)


async def _bare_events() -> AsyncIterator[str]:
    yield "data: first\n\n"
    raise RuntimeError("inner workings")


@app.route("guarded/raise", methods=["GET"])
@handler
async def guarded_raise(exchange: Exchange) -> Response:
    """Raise an unexpected error."""
    return await _raise(exchange)


@app.route("guarded/none", methods=["GET"])
@handler
async def guarded_none(_: Exchange) -> Response:
    """Return nothing."""
    return await _return(None)


@app.route("guarded/text", methods=["GET"])
@handler
async def guarded_text(_: Exchange) -> Response:
    """Return a bare string."""
    return await _return("text")


@app.route("guarded/stream", methods=["GET"])
@handler
async def guarded_stream(exchange: Exchange) -> Response:
    """Raise in the middle of a stream."""
    return await _stream(exchange)


@app.route("bare/raise", methods=["GET"])
async def bare_raise(req: Request) -> Response:
    """Raise an unexpected error."""
    return await _raise(req)


@app.route("bare/none", methods=["GET"])
async def bare_none(req: Request) -> Response:
    """Return nothing."""
    return await _return(None)


@app.route("bare/text", methods=["GET"])
async def bare_text(req: Request) -> Response:
    """Return a bare string."""
    return await _return("text")


@app.route("bare/stream", methods=["GET"])
async def bare_stream(req: Request) -> Response:
    """Raise in the middle of a stream."""
    return StreamingResponse(_bare_events(), media_type="text/event-stream")
