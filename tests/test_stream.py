import asyncio
import threading

import pytest

from generation.errors import GenerationFailedError, NotReadyError
from generation.sequence import Update
from generation.stream import TokenStream


def _update(text: str) -> Update:
    return Update(0, text)


async def test_items_come_in_order_and_then_it_ends() -> None:
    stream = TokenStream(lambda: None)
    for text in "abc":
        stream.mailbox.post(_update(text))
    stream.mailbox.close()
    assert [item.text async for item in stream if isinstance(item, Update)] == ["a", "b", "c"]


async def test_a_waiting_reader_is_woken_from_another_thread() -> None:
    stream = TokenStream(lambda: None)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    thread = threading.Thread(target=stream.mailbox.post, args=(_update("late"),))
    thread.start()
    assert await waiting == _update("late")
    thread.join()
    stream.mailbox.close()


async def test_an_error_comes_after_what_was_posted_before_it() -> None:
    stream = TokenStream(lambda: None)
    stream.mailbox.post(_update("a"))
    stream.mailbox.close(GenerationFailedError("broken"))
    assert await anext(stream) == _update("a")
    with pytest.raises(GenerationFailedError):
        await anext(stream)


async def test_it_ends_when_the_last_of_several_requests_has_ended() -> None:
    stream = TokenStream(lambda: None, requests=2)
    stream.mailbox.close()
    assert not stream.mailbox.closed
    stream.mailbox.close()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_an_error_of_one_request_ends_the_others() -> None:
    stream = TokenStream(lambda: None, requests=2)
    stream.mailbox.close(NotReadyError("first"))
    assert (stream.mailbox.closed, stream.mailbox.cancelled) == (True, True)
    stream.mailbox.close(GenerationFailedError("second"))
    with pytest.raises(NotReadyError):
        await anext(stream)


async def test_cancelling_notifies_once() -> None:
    calls: list[int] = []
    stream = TokenStream(lambda: calls.append(1))
    stream.cancel()
    stream.cancel()
    assert (stream.mailbox.cancelled, calls) == (True, [1])


async def test_dropping_a_finished_stream_notifies_nobody() -> None:
    calls: list[int] = []
    stream = TokenStream(lambda: calls.append(1))
    stream.mailbox.close()
    del stream
    assert calls == []


def test_a_closed_loop_counts_as_nobody_waiting() -> None:
    async def make() -> TokenStream:
        return TokenStream(lambda: None)

    stream = asyncio.run(make())
    stream.mailbox.post(_update("a"))
    assert stream.mailbox.cancelled
