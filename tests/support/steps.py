"""Run steps of the engine by hand on a fake model, and compute the expected text of each request separately."""

import time
from collections.abc import Sequence as SequenceOf

import pytest

from generation.engine.core import EngineCore
from generation.engine.drafter import Drafter
from generation.engine.group import Group
from generation.engine.prefix import PrefixCache
from generation.engine.request import GenerationRequest
from generation.engine.scheduler import Limits
from generation.engine.speculation import Speculation
from generation.engine.stream import Mailbox
from generation.observe.telemetry import Telemetry
from generation.observe.timeline import Timeline
from generation.sampling.sampler import Sampler
from tests.support.fakes import END, ByteCodec, FakeModel, logits_after, mailbox


def make_core(
    model: FakeModel,
    *,
    chunk: int = 8,
    tokens: int = 4000,
    prefix: PrefixCache | None = None,
    speculation: Speculation | None = None,
) -> EngineCore:
    rows, staging = 4, 2
    return EngineCore(model, Limits(rows=rows, staging=staging, tokens=tokens, chunk=chunk), prefix, speculation)


def add(core: EngineCore, asked: GenerationRequest, timeout_s: float = 1e6) -> Mailbox:
    box = mailbox()
    core.scheduler.add([make_group(asked, box, time.monotonic() + timeout_s, core.telemetry)], 1)
    return box


def make_group(asked: GenerationRequest, box: Mailbox, deadline: float, telemetry: Telemetry | None = None) -> Group:
    """Return the group that the engine would create for a request."""
    return Group(
        asked, ByteCodec(), box, deadline, Timeline(time.monotonic(), len(asked.prompt)), telemetry or Telemetry()
    )


def step(core: EngineCore) -> None:
    core.sweep_and_admit()
    core.step()


def run(core: EngineCore, limit: int = 2000) -> None:
    for _ in range(limit):
        if not core.scheduler.busy:
            return
        step(core)
    pytest.fail("the work never ended")


def oracle(asked: GenerationRequest, index: int = 0) -> tuple[str, str]:
    """Return the expected text, generated token by token with only the sampler and the fake logits."""
    sampler = Sampler(asked.sampling, index, asked.prompt, [END])
    history, data = list(asked.prompt), b""
    for _ in range(asked.max_tokens):
        token = sampler.choose(logits_after(history))
        if token == END and not asked.sampling.ignore_eos:
            return data.decode(errors="replace"), "stop"
        history.append(token)
        data += ByteCodec().token_bytes(token)
        for stop in asked.stop:
            if stop.encode() in data:
                return data[: data.index(stop.encode())].decode(errors="replace"), "stop"
    return data.decode(errors="replace"), "length"


def assert_clean(core: EngineCore, model: FakeModel) -> None:
    scheduler = core.scheduler
    assert not scheduler.busy
    assert (scheduler.reserved_rows, scheduler.reserved_tokens, scheduler.waiting_tokens) == (0, 0, 0)
    assert scheduler.owner == {}
    assert model.cache.rows == [None] * len(model.cache.rows), "a row was not released"


class Eager(Speculation):
    """A speculation that always drafts, regardless of measured speed."""

    def plan(self, drafters: SequenceOf[Drafter], room: SequenceOf[int]) -> list[list[int]]:
        share = (self._capacity - len(drafters)) // len(drafters)
        limits = [min(self._limit, share, most) for most in room]
        return [one.take(len(one.chances(limit, 0.0))) for one, limit in zip(drafters, limits, strict=True)]
