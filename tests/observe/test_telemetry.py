"""What is counted of requests, on a model of a few lines."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from generation.engine.engine import Engine
from generation.engine.prefix import PrefixCache
from generation.engine.scheduler import Limits
from generation.engine.speculation import Speculation
from generation.errors import GenerationFailedError, TooLargeError
from generation.observe.histogram import Histogram
from generation.observe.telemetry import Telemetry
from generation.observe.timeline import Timeline
from tests.engine.test_engine import ENDLESS, GatedModel
from tests.support.fakes import ByteCodec, FakeModel, request


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
async def engine(model: FakeModel) -> AsyncIterator[Engine]:
    limits = Limits(rows=4, staging=2, tokens=20000, chunk=8)
    engine = Engine(model, ByteCodec(), limits, PrefixCache(1 << 20), Speculation(4, 4))
    engine.start()
    yield engine
    await asyncio.to_thread(engine.stop)


async def _finish(engine: Engine, *args: object, **options: object) -> Timeline:
    """Run a request to its end; return its timeline."""
    stream = engine.submit(request(*args, **options))  # type: ignore[arg-type]
    await stream.rest()
    return stream.timelines[0]


def test_a_value_on_a_bound_belongs_below_it_and_one_past_all_is_counted() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    histogram.observe(2.0, times=3)
    assert (histogram.counts, histogram.total) == ([2, 4, 1], 18.0)


async def test_every_token_is_counted_once(engine: Engine) -> None:
    timeline = await _finish(engine, "prompt", 20, choices=3, ignore_eos=True)
    telemetry = engine.telemetry
    assert (timeline.prompt_tokens, timeline.generated_tokens) == (6, 60)
    assert (telemetry.prompt_tokens, telemetry.generated_tokens) == (6, 60)
    assert sum(telemetry.between_tokens_s.counts) == 57, "the first tokens of the three follow no other"
    assert sum(telemetry.first_token_s.counts) == sum(telemetry.queue_s.counts) == 1
    assert telemetry.finished == {"length": 3}


async def test_a_timeline_is_in_order(engine: Engine) -> None:
    timeline = await _finish(engine, "prompt", 5, ignore_eos=True)
    assert timeline.admitted is not None
    assert timeline.first_token is not None
    assert timeline.ended is not None
    assert timeline.submitted <= timeline.admitted <= timeline.first_token <= timeline.ended
    assert timeline.finish_reasons == ["length"]


async def test_a_request_without_new_tokens_has_no_first_one(engine: Engine) -> None:
    timeline = await _finish(engine, "prompt", 0)
    assert timeline.first_token is None
    assert sum(engine.telemetry.first_token_s.counts) == 0


async def test_reused_tokens_of_a_prompt_are_counted(engine: Engine) -> None:
    assert (await _finish(engine, "x" * 20, 1)).cached_tokens == 0
    assert (await _finish(engine, "x" * 20, 1)).cached_tokens == 16, "two chunks of eight"
    assert engine.telemetry.cached_tokens == 16


async def test_steps_are_counted_with_their_size(engine: Engine, model: FakeModel) -> None:
    await _finish(engine, "prompt", 20, choices=2, ignore_eos=True)
    assert sum(engine.telemetry.batch.counts) == sum(engine.telemetry.step_s.counts) == len(model.batches)
    assert engine.telemetry.batch.total == sum(model.batches)


async def test_runs_over_prompts_are_counted(engine: Engine, model: FakeModel) -> None:
    await _finish(engine, "x" * 20, 1)
    assert sum(engine.telemetry.prefill_s.counts) == len(model.prefilled) == 3


async def test_draft_tokens_are_counted(engine: Engine) -> None:
    await _finish(engine, "abc", 60, allowed_token_ids=frozenset({97}))
    assert engine.telemetry.drafted["prompt"] > 0
    telemetry = Telemetry()
    telemetry.speculated([("prompt", 5, 2), ("table", 1, 1)])
    telemetry.speculated([("prompt", 5, 0)])
    assert telemetry.drafted == {"prompt": 10, "table": 1}
    assert telemetry.accepted == {"prompt": 2, "table": 1}


async def test_a_client_that_leaves_is_a_cancellation() -> None:
    model = GatedModel()
    engine = Engine(model, ByteCodec(), Limits(rows=4, staging=2, tokens=20000, chunk=8))
    engine.start()
    stream = engine.submit(ENDLESS)
    await asyncio.to_thread(model.stepped.wait)
    stream.cancel()
    model.gate.release(3000)
    async for _ in stream:
        pass
    await asyncio.to_thread(engine.stop)
    assert (engine.telemetry.cancelled, engine.telemetry.finished) == (1, {"cancelled": 1})


async def test_a_failed_step_is_an_error_and_no_cancellation(engine: Engine, model: FakeModel) -> None:
    model.fail_decode = True
    with pytest.raises(GenerationFailedError):
        await _finish(engine, "a", 5, ignore_eos=True)
    assert (engine.telemetry.cancelled, engine.telemetry.finished) == (0, {"error": 1})


async def test_what_is_refused_is_counted_by_its_code(engine: Engine) -> None:
    with pytest.raises(TooLargeError):
        engine.submit(request("a", 30000))
    assert engine.telemetry.rejections == {"request_too_large": 1}
