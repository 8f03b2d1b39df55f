"""Errors, bodies, streams and disconnects at the edge, with requests made by hand."""

import asyncio
import json
import logging
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from generation.errors import BodyTooLargeError, GenerationFailedError, OverloadedError
from generation.http import EventStream, answer, collect, event, read_body
from generation.sequence import Update
from generation.stream import Bell, Item, TokenStream

Message = MutableMapping[str, Any]


def _request(*messages: Message, headers: dict[str, str] | None = None) -> Request:
    """A request whose client sends `messages` and then nothing."""
    waiting = list(messages)

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": raw}
    return Request(scope, receive)


def _body(content: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": content, "more_body": more}


async def _answer(error: Exception | None = None) -> Response:
    async def operation(_: Request) -> Response:
        if error is not None:
            raise error
        return JSONResponse({})

    return await answer("test", _request(), operation)


async def test_an_error_of_ours_becomes_its_body_status_and_headers() -> None:
    response = await _answer(OverloadedError("busy", retry_after_s=2.1))
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")
    assert json.loads(bytes(response.body))["error"]["code"] == "overloaded"


async def test_every_answer_says_that_its_type_is_not_to_be_guessed() -> None:
    for error in (None, OverloadedError("busy"), ValueError()):
        assert (await _answer(error)).headers["x-content-type-options"] == "nosniff"


async def test_an_unexpected_error_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    response = await _answer(ValueError("inner workings"))
    assert response.status_code == 500
    assert b"inner workings" not in bytes(response.body)
    assert response.headers["x-request-id"] in json.loads(bytes(response.body))["error"]["message"]
    assert "inner workings" in caplog.text


async def test_an_operation_without_a_response_is_an_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async def operation(_: Request) -> Any:
        return "text"

    response = await answer("test", _request(), operation)
    assert response.status_code == 500
    assert "test returned str instead of a response" in caplog.text


async def test_each_request_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await _answer()
    assert len(caplog.records) == 1
    assert '"method": "POST", "route": "test", "status": 200' in caplog.text


async def test_a_body_is_read_in_parts() -> None:
    assert await read_body(_request(_body(b"ab", more=True), _body(b"cd")), 4) == b"abcd"


async def test_a_body_over_the_limit_is_not_read_to_its_end() -> None:
    request = _request(_body(b"abc", more=True), _body(b"def", more=True))
    with pytest.raises(BodyTooLargeError):
        await read_body(request, 5)


async def test_a_whole_answer_is_collected() -> None:
    stream = TokenStream(lambda: None, Bell())
    stream.mailbox.post(Update(0, "a"))
    stream.mailbox.close()
    assert await collect(_request(_body(b"")), stream) == [Update(0, "a")]


async def test_a_client_that_leaves_before_the_answer_cancels_the_work() -> None:
    cancelled: list[bool] = []

    def engine_reacts() -> None:
        cancelled.append(True)
        stream.mailbox.close()
        bell.ring()

    bell = Bell()
    stream = TokenStream(engine_reacts, bell)
    request = _request(_body(b""), {"type": "http.disconnect"})
    await request.body()
    assert await collect(request, stream) == []
    assert cancelled == [True]


class _Client:
    """Takes what a response sends; may leave after some events."""

    def __init__(self, leave_after: int | None = None) -> None:
        self.text = ""
        self.leave_after = leave_after
        self.left = asyncio.Event()
        self.got = asyncio.Event()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.text += message.get("body", b"").decode()
        self.got.set()
        if self.leave_after is not None and self.text.count("\n\n") >= self.leave_after:
            self.left.set()


def _encode(item: Item) -> str:
    return event(item.text) if isinstance(item, Update) else ""


async def _send(stream: TokenStream, client: _Client, keep_alive_s: float = 60, **options: Any) -> None:
    response = EventStream(stream, _encode, keep_alive_s, **options)
    await response({"type": "http", "asgi": {"spec_version": "2.3"}}, client.receive, client.send)


async def test_events_are_sent_and_the_end_is_marked() -> None:
    stream, client = TokenStream(lambda: None, Bell()), _Client()
    stream.mailbox.post(Update(0, "é"))
    stream.mailbox.close()
    await _send(stream, client, first="data: 1\n\n", last=lambda: "data: 2\n\n")
    assert client.text == 'data: 1\n\ndata: "é"\n\ndata: 2\n\ndata: [DONE]\n\n'


async def test_an_error_in_mid_stream_is_an_event() -> None:
    stream, client = TokenStream(lambda: None, Bell()), _Client()
    stream.mailbox.post(Update(0, "a"))
    stream.mailbox.close(GenerationFailedError("a step failed"))
    await _send(stream, client)
    events = client.text.split("\n\n")
    assert json.loads(events[1].removeprefix("data: "))["error"]["code"] == "generation_failed"
    assert events[2] == "data: [DONE]"


async def test_silence_is_filled_with_comments_and_nothing_is_lost() -> None:
    bell = Bell()
    stream, client = TokenStream(lambda: None, bell), _Client()
    sending = asyncio.ensure_future(_send(stream, client, keep_alive_s=0.01))
    while ": ping\n\n" not in client.text:
        client.got.clear()
        await client.got.wait()
    stream.mailbox.post(Update(0, "a"))
    stream.mailbox.close()
    bell.ring()
    await sending
    assert client.text.replace(": ping\n\n", "") == 'data: "a"\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("broken", [True, False])
async def test_whatever_ends_the_response_the_work_ends_with_it(broken: bool) -> None:
    notified: list[bool] = []
    stream = TokenStream(lambda: notified.append(True), Bell())
    client = _Client(leave_after=1)
    stream.mailbox.post(Update(0, "a"))

    async def broken_send(_: Message) -> None:
        raise OSError("the connection is gone")

    if broken:
        response = EventStream(stream, _encode, 60)
        with pytest.raises(ClientDisconnect):
            await response({"type": "http", "asgi": {"spec_version": "2.4"}}, client.receive, broken_send)
    else:
        await _send(stream, client)
    assert stream.mailbox.cancelled
    assert notified == [True]


async def test_an_encoder_that_fails_ends_the_stream_with_an_error_event() -> None:
    stream, client = TokenStream(lambda: None, Bell()), _Client()
    stream.mailbox.post(Update(0, "a"))

    def encode(_: Item) -> str:
        raise ValueError("inner workings")

    await EventStream(stream, encode, 60)(
        {"type": "http", "asgi": {"spec_version": "2.3"}}, client.receive, client.send
    )
    assert '"code":"internal_error"' in client.text
    assert "inner workings" not in client.text
    assert stream.mailbox.cancelled
