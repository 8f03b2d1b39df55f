"""Bodies, whole answers and disconnects, with requests made by hand."""

import asyncio
import json
import logging
from typing import TYPE_CHECKING, cast

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from generation.api import exchange as exchanges
from generation.api.exchange import Exchange
from generation.api.handler import answer
from generation.engine.request import GenerationRequest, Update
from generation.engine.stream import Bell, TokenStream
from generation.errors import BodyTooLargeError, UnsupportedEncodingError
from generation.observe.timeline import Timeline
from tests.support.fakes import request
from tests.support.http import Message, body_message, make_request

if TYPE_CHECKING:
    from generation.engine.engine import Engine


def _exchange(*messages: Message) -> Exchange:
    return Exchange("test", make_request(*messages))


async def test_a_body_is_read_in_parts() -> None:
    assert await _exchange(body_message(b"ab", more=True), body_message(b"cd")).body(4) == b"abcd"


async def test_a_body_over_the_limit_is_not_read_to_its_end() -> None:
    exchange = _exchange(body_message(b"abc", more=True), body_message(b"def", more=True))
    with pytest.raises(BodyTooLargeError):
        await exchange.body(5)


async def test_a_whole_answer_is_collected() -> None:
    stream = TokenStream(lambda: None, Bell(), [Timeline()])
    stream.mailbox.post(Update(0, "a"))
    stream.mailbox.close()
    assert await _exchange(body_message(b"")).collect(stream) == [Update(0, "a")]


async def test_a_client_that_disconnects_before_the_answer_cancels_the_work() -> None:
    cancelled: list[bool] = []
    stream = TokenStream(lambda: cancelled.append(True), Bell(), [Timeline()])
    exchange = _exchange(body_message(b""), {"type": "http.disconnect"})
    await exchange.body(0)
    with pytest.raises(ClientDisconnect):
        await exchange.collect(stream)
    assert cancelled == [True]


async def test_a_receive_that_fails_does_not_touch_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> Message:
        raise RuntimeError("inner workings")

    stream = TokenStream(lambda: None, Bell(), [Timeline()])
    collecting = asyncio.ensure_future(Exchange("test", Request(make_request().scope, receive)).collect(stream))
    while "waiting for a client disconnect failed" not in caplog.text:  # noqa: ASYNC110 - the log has no event
        await asyncio.sleep(0)
    stream.mailbox.post(Update(0, "a"))
    stream.mailbox.close()
    stream.cancel()
    assert not stream.cancelled, "a stream that has ended is not cancelled"
    collecting.get_loop().call_soon(stream._reader.news.set)
    assert await collecting == [Update(0, "a")]


class SlowEngine:
    """An engine that takes its time to release what was submitted."""

    def __init__(self) -> None:
        self.bell = Bell()
        self.stream: TokenStream | None = None

    def submit(self, *requests: GenerationRequest) -> TokenStream:
        """Queue the requests."""
        self.stream = TokenStream(lambda: None, self.bell, [Timeline(1.0, len(one.prompt)) for one in requests])
        return self.stream


async def test_a_request_is_written_when_its_answer_has_ended_and_the_engine_has_released_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    engine = SlowEngine()
    exchange = _exchange(body_message(b""), {"type": "http.disconnect"})
    await exchange.body(0)
    stream = exchange.submit(cast("Engine", engine), request("once", 8), request("twice", 8))
    with pytest.raises(ClientDisconnect):
        await exchange.collect(stream)
    exchange.record.answered(499, "client_left")
    for timeline in stream.timelines:
        assert caplog.text == ""
        timeline.generated_tokens = 3
        stream.mailbox.close()
        engine.bell.ring()
        await asyncio.sleep(0)
    line = json.loads(caplog.records[0].getMessage())
    assert (line["status"], line["error"], line["generated_tokens"]) == (499, "client_left", 6)


async def test_a_compressed_body_is_refused() -> None:
    exchange = Exchange("test", make_request(body_message(b"\x1f\x8b"), headers={"content-encoding": "gzip"}))
    with pytest.raises(UnsupportedEncodingError) as caught:
        await exchange.body(9)
    assert (caught.value.status, caught.value.message) == (415, "the body is encoded as 'gzip': send it uncompressed")


async def test_a_body_with_the_identity_encoding_is_read() -> None:
    exchange = Exchange("test", make_request(body_message(b"ab"), headers={"content-encoding": "identity"}))
    assert await exchange.body(9) == b"ab"


async def test_a_body_that_does_not_arrive_in_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "BODY_S", 0.01)

    async def operation(exchange: Exchange) -> Response:
        return Response(await exchange.body(9))

    response = await answer("test", make_request(body_message(b"a", more=True)), operation)
    assert (response.status_code, response.headers["connection"]) == (408, "close")
    assert json.loads(bytes(response.body))["error"]["code"] == "request_timeout"
