"""The engine's thread and its face to event loops, on a model of a few lines."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from generation.engine.engine import Engine
from generation.engine.request import Update
from generation.engine.scheduler import Limits, Scheduler
from generation.engine.stream import TokenStream
from generation.errors import NotReadyError, OverloadedError, TooLargeError
from generation.observe.telemetry import Telemetry
from tests.support.fakes import ByteCodec, FakeModel, reasons, request, texts
from tests.support.steps import oracle

ENDLESS = request("go", 3000, ignore_eos=True)


class GatedModel(FakeModel):
    """Waits before every decode step until it is let through, so that a test decides when steps happen."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Semaphore(0)
        self.stepped = threading.Event()

    def decode(self, ids: Sequence[Sequence[int]], lengths: Sequence[int]) -> NDArray[np.float32]:
        self.stepped.set()
        self.gate.acquire()
        return super().decode(ids, lengths)


def _engine(model: FakeModel, **limits: int) -> Engine:
    engine = Engine(model, ByteCodec(), Limits(**({"rows": 4, "staging": 2, "tokens": 20000, "chunk": 8} | limits)))
    engine.start()
    return engine


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = _engine(FakeModel())
    yield engine
    await asyncio.to_thread(engine.stop)


async def _first(stream: TokenStream) -> Update:
    item = await anext(stream)
    assert isinstance(item, Update)
    return item


async def test_many_at_once_get_what_each_gets_alone(engine: Engine) -> None:
    requests = [request(f"prompt {i}", 20, seed=i, choices=1 + i % 3) for i in range(12)]

    async def answer(i: int) -> list[str]:
        return texts([item async for item in engine.submit(requests[i])], requests[i].choices)

    alone = [await answer(i) for i in range(12)]
    together = await asyncio.gather(*(answer(i) for i in range(12)))
    assert together == alone


async def test_requests_submitted_together_share_a_stream(engine: Engine) -> None:
    pair = [
        request("a", 5, number=0, choices=2, ignore_eos=True),
        request("b", 5, number=1, choices=2, ignore_eos=True),
    ]
    items = [item async for item in engine.submit(*pair)]
    assert {item.index for item in items if isinstance(item, Update)} == {0, 1, 2, 3}
    alone = [item async for item in engine.submit(request("b", 5, choices=2, ignore_eos=True))]
    assert texts(items, 4)[2:] == texts(alone, 2)


async def test_a_cancelled_stream_ends_and_frees_its_place(engine: Engine) -> None:
    stream = engine.submit(ENDLESS)
    await _first(stream)
    released = asyncio.Event()
    stream.on_release(released.set)
    stream.cancel()
    async for _ in stream:
        pass
    await released.wait()
    assert (engine.running, engine.waiting) == (0, 0)
    assert stream.timelines[0].finish_reasons == ["cancelled"]


async def test_a_forgotten_stream_cancels_itself() -> None:
    model = GatedModel()
    engine = _engine(model)
    stream = engine.submit(ENDLESS)
    mailbox = stream.mailbox
    await asyncio.to_thread(model.stepped.wait)
    del stream
    gc.collect()
    assert mailbox.cancelled
    model.gate.release(2)
    await asyncio.to_thread(engine.stop, 10)
    assert mailbox.closed


async def test_a_hundred_abandoned_streams_leave_nothing_behind(engine: Engine) -> None:
    for _ in range(25):
        streams = [engine.submit(ENDLESS) for _ in range(4)]
        for stream in streams:
            await _first(stream)
        for stream in streams:
            stream.cancel()
    items = [item async for item in engine.submit(request("after", 3, ignore_eos=True))]
    assert len(items) == 3
    assert (engine.running, engine.waiting) == (0, 0)


async def test_a_full_queue_refuses_and_takes_again_later() -> None:
    model = GatedModel()
    engine = _engine(model, rows=1, waiting=1)
    running = engine.submit(ENDLESS)
    await asyncio.to_thread(model.stepped.wait)
    queued = engine.submit(request("b", 1))
    with pytest.raises(OverloadedError) as caught:
        engine.submit(request("c", 1))
    assert int(caught.value.headers()["Retry-After"]) >= 1
    running.cancel()
    model.gate.release(1000)
    assert [item async for item in queued]
    assert [item async for item in engine.submit(request("c", 1))]
    await asyncio.to_thread(engine.stop)


async def test_the_time_to_wait_grows_with_the_backlog() -> None:
    waits = []
    for queued in (10, 3000):
        model = GatedModel()
        engine = _engine(model, rows=1, waiting=1)
        streams = [engine.submit(request("a", 10, ignore_eos=True))]
        await asyncio.to_thread(model.stepped.wait)
        streams.append(engine.submit(request("b", queued, ignore_eos=True)))
        with pytest.raises(OverloadedError) as caught:
            engine.submit(request("c", 1))
        waits.append(int(caught.value.headers()["Retry-After"]))
        for stream in streams:
            stream.cancel()
        model.gate.release(1000)
        await asyncio.to_thread(engine.stop)
    assert waits[0] * 10 < waits[1]


async def test_what_never_fits_is_refused(engine: Engine) -> None:
    with pytest.raises(TooLargeError):
        engine.submit(request("a", 30000))


async def test_stopping_lets_running_work_finish_within_the_grace_period() -> None:
    engine = _engine(FakeModel())
    stream = engine.submit(request("a", 40, ignore_eos=True))
    await _first(stream)
    await asyncio.to_thread(engine.stop, 60)
    items = [item async for item in stream]
    assert isinstance(items[-1], Update)
    assert items[-1].finish_reason == "length"
    with pytest.raises(NotReadyError):
        engine.submit(request("b", 1))


async def test_after_the_grace_period_work_ends_in_an_error() -> None:
    model = GatedModel()
    engine = _engine(model)
    stream = engine.submit(ENDLESS)
    await asyncio.to_thread(model.stepped.wait)
    stopping = threading.Thread(target=engine.stop, args=(0,))
    stopping.start()
    model.gate.release(3000)
    with pytest.raises(NotReadyError) as caught:
        async for _ in stream:
            pass
    assert caught.value.retry_after_s is not None
    await asyncio.to_thread(stopping.join)


@pytest.mark.parametrize("length_penalty", [None, 1.0], ids=["sampled", "beams"])
async def test_at_shutdown_a_whole_answer_to_several_prompts_keeps_what_exists(length_penalty: float | None) -> None:
    model = GatedModel()
    engine = _engine(model, rows=2)
    endless = request("go", 3000, ignore_eos=True, length_penalty=length_penalty)
    requests = [replace(endless, number=number) for number in range(3)]
    stream = engine.submit(*requests)  # the third waits for a row
    reading = asyncio.ensure_future(stream.rest())
    await asyncio.to_thread(model.stepped.wait)
    stopping = threading.Thread(target=engine.stop, args=(0,))
    stopping.start()
    model.gate.release(3000)
    items = await reading
    await asyncio.to_thread(stopping.join)
    ends = {number: ("timeout" if text else "error") for number, text in enumerate(texts(items, 3))}
    assert reasons(items) == ends
    assert (ends[0], ends[2]) == ("timeout", "error")


async def test_at_shutdown_a_whole_answer_that_has_nothing_ends_in_an_error() -> None:
    model = GatedModel()
    engine = _engine(model, rows=1)
    running = engine.submit(ENDLESS)
    waiting = engine.submit(request("a", 1), replace(request("b", 1), number=1))
    reading = asyncio.ensure_future(waiting.rest())
    await asyncio.to_thread(model.stepped.wait)
    stopping = threading.Thread(target=engine.stop, args=(0,))
    stopping.start()
    model.gate.release(3000)
    with pytest.raises(NotReadyError):
        await reading
    with pytest.raises(NotReadyError):
        await running.rest()
    await asyncio.to_thread(stopping.join)


async def test_an_engine_that_fails_starts_again_with_an_empty_cache(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = engine.submit(ENDLESS)
    await _first(running)
    _fail_once(monkeypatch, "admit")
    with pytest.raises(NotReadyError) as caught:
        async for _ in running:
            pass
    assert caught.value.retry_after_s is not None
    asked = request("b", 5, ignore_eos=True)
    assert texts([item async for item in engine.submit(asked)]) == [oracle(asked)[0]]
    assert (engine.telemetry.restarts, engine.failure) == (1, None)


async def test_an_engine_that_fails_again_has_failed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Telemetry, "stepped", _explode)
    for _ in range(2):
        stream = engine.submit(ENDLESS)
        with pytest.raises(NotReadyError):
            async for _ in stream:
                pass
    await asyncio.to_thread(engine._thread.join)
    assert isinstance(engine.failure, MemoryError)
    assert engine.telemetry.restarts == 1
    assert (engine.running, engine.waiting, engine.reserved_tokens) == (0, 0, 0)
    with pytest.raises(NotReadyError, match="must be restarted"):
        engine.submit(request("b", 1))


async def test_a_request_that_the_failed_engine_has_lost_count_of_ends(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = engine.submit(ENDLESS)
    await _first(stream)
    monkeypatch.setattr(Scheduler, "groups", lambda _: [])
    _fail_once(monkeypatch, "admit")
    with pytest.raises(NotReadyError):
        await stream.rest()


async def test_a_prompt_for_which_there_was_no_time_does_not_take_the_others_with_it() -> None:
    model = GatedModel()
    engine = _engine(model, rows=1)
    asked = [request("a", 3, number=0, ignore_eos=True), request("b", 3, number=1, timeout_s=0.0)]
    stream = engine.submit(*asked)
    model.gate.release(1000)
    items = await stream.rest()
    assert reasons(items) == {0: "length", 1: "timeout"}
    assert texts(items, 2) == [oracle(asked[0])[0], ""]
    await asyncio.to_thread(engine.stop)


def _explode(*_: object) -> None:
    raise MemoryError


def _fail_once(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Have a method of the scheduler fail at its next call."""
    genuine = getattr(Scheduler, method)

    def fail(_: Scheduler) -> None:
        monkeypatch.setattr(Scheduler, method, genuine)
        raise MemoryError

    monkeypatch.setattr(Scheduler, method, fail)
