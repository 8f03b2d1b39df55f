import asyncio
import threading
from typing import Any

import pytest

from generation.engine.request import Update
from generation.engine.stream import Bell, TokenStream
from generation.errors import GenerationFailedError, NotReadyError
from generation.observe.timeline import Timeline


def _update(text: str) -> Update:
    return Update(0, text)


async def test_items_come_in_order_and_then_it_ends() -> None:
    stream = TokenStream(lambda: None, Bell(), [Timeline()])
    for text in "abc":
        stream.mailbox.post(_update(text))
    stream.mailbox.close()
    assert [item.text async for item in stream if isinstance(item, Update)] == ["a", "b", "c"]


async def test_a_waiting_reader_is_woken_from_another_thread() -> None:
    bell = Bell()
    stream = TokenStream(lambda: None, bell, [Timeline()])
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)

    def engine() -> None:
        stream.mailbox.post(_update("late"))
        bell.ring()

    thread = threading.Thread(target=engine)
    thread.start()
    assert await waiting == _update("late")
    thread.join()
    stream.mailbox.close()


def _count_calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list of the calls that come to the running loop from other threads."""
    loop, calls = asyncio.get_running_loop(), list[object]()

    def call(*what: Any) -> None:
        calls.append(what)
        loop.call_soon(*what)

    monkeypatch.setattr(loop, "call_soon_threadsafe", call)
    return calls


async def test_all_readers_are_woken_with_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    bell = Bell()
    streams = [TokenStream(lambda: None, bell, [Timeline()]) for _ in range(3)]
    waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await asyncio.sleep(0)
    calls = _count_calls(monkeypatch)
    for stream in streams:
        stream.mailbox.post(_update("a"))
    bell.ring()
    bell.ring()
    assert await asyncio.gather(*waiting) == [_update("a")] * 3
    assert len(calls) == 1


async def test_a_reader_of_the_whole_answer_is_woken_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    bell = Bell()
    stream = TokenStream(lambda: None, bell, [Timeline()])
    rest = asyncio.ensure_future(stream.rest())
    await asyncio.sleep(0)
    calls = _count_calls(monkeypatch)
    for text in "abc":
        stream.mailbox.post(_update(text))
        bell.ring()
    assert calls == []
    stream.mailbox.close()
    bell.ring()
    assert await rest == [_update(text) for text in "abc"]


async def test_the_whole_of_a_request_that_failed_is_its_error() -> None:
    stream = TokenStream(lambda: None, Bell(), [Timeline()])
    stream.mailbox.post(_update("a"))
    stream.mailbox.close(GenerationFailedError("broken"))
    with pytest.raises(GenerationFailedError):
        await stream.rest()


async def test_an_error_comes_after_what_was_posted_before_it() -> None:
    stream = TokenStream(lambda: None, Bell(), [Timeline()])
    stream.mailbox.post(_update("a"))
    stream.mailbox.close(GenerationFailedError("broken"))
    assert await anext(stream) == _update("a")
    with pytest.raises(GenerationFailedError):
        await anext(stream)


async def test_it_ends_when_the_last_of_several_requests_has_ended() -> None:
    stream = TokenStream(lambda: None, Bell(), [Timeline(), Timeline()])
    stream.mailbox.close()
    assert not stream.mailbox.closed
    stream.mailbox.close()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_an_error_of_one_request_does_not_end_the_others() -> None:
    stream = TokenStream(lambda: None, Bell(), [Timeline(), Timeline()])
    stream.mailbox.close(NotReadyError("first"))
    assert (stream.mailbox.closed, stream.mailbox.cancelled) == (False, False)
    stream.mailbox.post(_update("a"))
    stream.mailbox.close()
    assert await stream.rest() == [_update("a")]


async def test_where_every_request_fails_the_first_error_is_raised() -> None:
    stream = TokenStream(lambda: None, Bell(), [Timeline(), Timeline()])
    stream.mailbox.close(NotReadyError("first"))
    stream.mailbox.close(GenerationFailedError("second"))
    with pytest.raises(NotReadyError):
        await anext(stream)


async def test_cancelling_notifies_once() -> None:
    calls: list[int] = []
    stream = TokenStream(lambda: calls.append(1), Bell(), [Timeline()])
    stream.cancel()
    stream.cancel()
    assert (stream.mailbox.cancelled, calls) == (True, [1])


async def test_dropping_a_finished_stream_notifies_nobody() -> None:
    calls: list[int] = []
    stream = TokenStream(lambda: calls.append(1), Bell(), [Timeline()])
    stream.mailbox.close()
    del stream
    assert calls == []


def test_a_closed_loop_counts_as_nobody_waiting() -> None:
    bell = Bell()

    async def make() -> TokenStream:
        return TokenStream(lambda: None, bell, [Timeline()])

    async def other_loop() -> bool:
        here = await make()
        for stream in (gone, here):
            stream.mailbox.post(_update("a"))
        bell.ring()
        return here.mailbox.cancelled

    gone = asyncio.run(make())
    assert not asyncio.run(other_loop())
    assert gone.mailbox.cancelled
