"""Streams of events: what is sent, and how they end."""

import asyncio
import json
import logging
from typing import Any

import pytest

from generation.api.events import EventStream, event
from generation.api.exchange import Exchange
from generation.engine.request import Item, Update
from generation.engine.stream import Bell, TokenStream
from generation.errors import GenerationFailedError
from generation.observe.timeline import Timeline
from tests.support.http import Client, Message, make_request


def _encode(item: Item) -> str:
    return event(item.text) if isinstance(item, Update) else ""


async def _send(stream: TokenStream, client: Client, keep_alive_s: float = 60, **options: Any) -> None:
    response = EventStream(Exchange("test", make_request()), stream, _encode, keep_alive_s, **options)
    await response({"type": "http", "asgi": {"spec_version": "2.3"}}, client.receive, client.send)


async def test_events_are_sent_and_the_end_is_marked() -> None:
    stream, client = TokenStream(lambda: None, Bell(), [Timeline()]), Client()
    stream.mailbox.post(Update(0, "é"))
    stream.mailbox.close()
    await _send(stream, client, first="data: 1\n\n", last=lambda: "data: 2\n\n")
    assert client.text == 'data: 1\n\ndata: "é"\n\ndata: 2\n\ndata: [DONE]\n\n'


async def test_an_error_in_mid_stream_is_an_event() -> None:
    stream, client = TokenStream(lambda: None, Bell(), [Timeline()]), Client()
    stream.mailbox.post(Update(0, "a"))
    stream.mailbox.close(GenerationFailedError("a step failed"))
    await _send(stream, client)
    events = client.text.split("\n\n")
    assert json.loads(events[1].removeprefix("data: "))["error"]["code"] == "generation_failed"
    assert events[2] == "data: [DONE]"


async def test_silence_is_filled_with_comments_and_nothing_is_lost() -> None:
    bell = Bell()
    stream, client = TokenStream(lambda: None, bell, [Timeline()]), Client()
    sending = asyncio.ensure_future(_send(stream, client, keep_alive_s=0.01))
    while ": ping\n\n" not in client.text:
        client.got.clear()
        await client.got.wait()
    stream.mailbox.post(Update(0, "a"))
    stream.mailbox.close()
    bell.ring()
    await sending
    assert client.text.replace(": ping\n\n", "") == 'data: "a"\n\ndata: [DONE]\n\n'


def _line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """Return the one line of the log."""
    (message,) = [one.getMessage() for one in caplog.records]
    line: dict[str, Any] = json.loads(message)
    return line


async def test_a_client_that_disconnects_ends_the_work(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    notified: list[bool] = []
    stream = TokenStream(lambda: notified.append(True), Bell(), [Timeline()])
    stream.mailbox.post(Update(0, "a"))
    await _send(stream, Client(leave_after=1))
    assert (stream.mailbox.cancelled, notified) == (True, [True])
    assert _line(caplog)["error"] == "client_left"


async def test_a_connection_that_breaks_ends_the_work(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stream, client = TokenStream(lambda: None, Bell(), [Timeline()]), Client()
    stream.mailbox.post(Update(0, "a"))

    async def broken_send(_: Message) -> None:
        raise OSError("the connection is gone")

    response = EventStream(Exchange("test", make_request()), stream, _encode, 60)
    await response({"type": "http", "asgi": {"spec_version": "2.4"}}, client.receive, broken_send)
    assert stream.mailbox.cancelled
    assert _line(caplog)["error"] == "client_left"


async def test_a_client_that_leaves_a_finished_stream_before_its_last_event_has_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The engine has nothing more to do, and the client has not got everything."""
    caplog.set_level(logging.INFO)
    for leave_after in range(1, 6):
        caplog.clear()
        stream = TokenStream(lambda: None, Bell(), [Timeline()])
        for _ in range(4):
            stream.mailbox.post(Update(0, "a"))
        stream.mailbox.close()
        await _send(stream, Client(leave_after))
        assert _line(caplog)["error"] == "client_left"


async def test_a_server_that_is_stopped_says_so_in_the_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stream, client = TokenStream(lambda: None, Bell(), [Timeline()]), Client()
    stream.mailbox.post(Update(0, "a"))
    sending = asyncio.ensure_future(_send(stream, client))
    await client.got.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert (_line(caplog)["error"], stream.cancelled) == ("cancelled", True)


async def test_an_encoder_that_fails_ends_the_stream_with_an_error_event() -> None:
    stream, client = TokenStream(lambda: None, Bell(), [Timeline()]), Client()
    stream.mailbox.post(Update(0, "a"))

    def encode(_: Item) -> str:
        raise ValueError("inner workings")

    await EventStream(Exchange("test", make_request()), stream, encode, 60)(
        {"type": "http", "asgi": {"spec_version": "2.3"}}, client.receive, client.send
    )
    assert '"code":"internal_error"' in client.text
    assert "inner workings" not in client.text
    assert stream.mailbox.cancelled


@pytest.mark.parametrize("character", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"], ids=ascii)
def test_no_client_takes_a_character_for_the_end_of_a_line(character: str) -> None:
    """`httpx.iter_lines` splits lines as `str.splitlines` does."""
    text = f"a{character}b"
    (line, blank) = event({"text": text}).splitlines()
    assert blank == ""
    assert json.loads(line.removeprefix("data: ")) == {"text": text}
