"""What is measured reaches what decides: times the drafts and the pace, tokens the counters, the pace Retry-After."""

import math
from collections.abc import Sequence as SequenceOf

import numpy as np
import pytest
from numpy.typing import NDArray

from generation.engine import core as module
from generation.engine.engine import Engine
from generation.engine.interface import Chunk
from generation.engine.scheduler import Limits
from generation.engine.speculation import Speculation
from generation.errors import OverloadedError
from tests.engine.test_core_speculation import GREEDY, Parrot
from tests.support.fakes import ByteCodec, FakeModel, request
from tests.support.steps import Eager, add, make_core, run

PREFILL_S = 0.5  # for each token of a prompt


class Clock:
    """A clock that only the model moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class TimedModel(Parrot):
    """A step takes `step_s`, and `token_s` more for each token that it computes."""

    def __init__(self, clock: Clock, step_s: float, token_s: float) -> None:
        super().__init__()
        self.tokens = 0
        self._clock, self._step_s, self._token_s = clock, step_s, token_s

    def prefill(self, chunks: SequenceOf[Chunk]) -> NDArray[np.float32]:
        self._clock.now += PREFILL_S * sum(len(chunk.ids) for chunk in chunks)
        return super().prefill(chunks)

    def decode(self, ids: SequenceOf[SequenceOf[int]], lengths: SequenceOf[int]) -> NDArray[np.float32]:
        tokens = sum(map(len, ids))
        self.tokens += tokens
        self._clock.now += self._step_s + self._token_s * tokens
        return super().decode(ids, lengths)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_drafts_are_made_where_steps_were_measured_to_be_cheap(clock: Clock) -> None:
    core = make_core(TimedModel(clock, step_s=1.0, token_s=0.001), speculation=Speculation(8, 16))
    add(core, request("once", 300, **GREEDY))
    run(core)
    assert core.telemetry.accepted["prompt"] > 100


def test_drafts_stop_where_steps_were_measured_to_be_dear(clock: Clock) -> None:
    core = make_core(model := TimedModel(clock, step_s=0.0, token_s=1.0), speculation=Speculation(8, 16))
    add(core, request("once", 300, **GREEDY))
    run(core)
    assert model.tokens < 400, "of 299 tokens, some hundred drafts are tried at most"


def test_drafts_are_counted_as_they_were_computed_and_accepted(clock: Clock) -> None:
    core = make_core(model := TimedModel(clock, 1.0, 0.0), speculation=Eager(8, 4))
    add(core, request("once", 300, **GREEDY))
    run(core)
    steps = len(model.batches)
    assert core.telemetry.drafted["prompt"] == model.tokens - steps > 0
    assert core.telemetry.accepted["prompt"] == 299 - steps > 0


def test_the_pace_is_that_of_the_steps_and_of_the_prefill(clock: Clock) -> None:
    core = make_core(TimedModel(clock, step_s=0.25, token_s=0.0))
    for _ in range(40):
        add(core, request("a prompt of thirty-two characters", 9, ignore_eos=True))
        run(core)
    assert core.pace.step_s == pytest.approx(0.25, rel=0.01)
    assert core.pace.prefill_token_s == pytest.approx(PREFILL_S, rel=0.05)


async def test_the_time_to_retry_after_is_the_backlog_at_the_measured_pace() -> None:
    engine = Engine(FakeModel(), ByteCodec(), Limits(rows=2, staging=2, tokens=20000, chunk=8, waiting=1))
    engine._core.pace.step_s, engine._core.pace.prefill_token_s = 3.0, 0.5
    engine.submit(request("x" * 10, 100))  # nothing runs: the thread was not started
    with pytest.raises(OverloadedError) as caught:
        engine.submit(request("a", 1))
    assert caught.value.headers()["Retry-After"] == str(math.ceil(10 * 0.5 + 100 / 2 * 3.0))
