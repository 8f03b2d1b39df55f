"""The delay of the event loop."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from generation.observe import delay
from generation.observe.histogram import LONG, Histogram


class Loop:
    """A loop whose clock is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, Callable[[], Any]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], Any]) -> None:
        self.calls.append((when, call))


def test_what_a_timer_is_overdue_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delay, "delay_s", Histogram(LONG))
    loop = Loop()
    delay.watch(loop)  # type: ignore[arg-type]
    delay.watch(loop)  # type: ignore[arg-type]
    for late in (0.0, 0.25):
        ((when, call),) = loop.calls
        loop.calls.clear()
        loop.now = when + late
        call()
    assert sum(delay.delay_s.counts) == 2
    assert delay.delay_s.total == pytest.approx(0.25)


async def test_a_running_loop_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = asyncio.Event()

    class Told(Histogram):
        def observe(self, value: float, times: int = 1) -> None:
            super().observe(value, times)
            measured.set()

    monkeypatch.setattr(delay, "delay_s", Told(LONG))
    monkeypatch.setattr(delay, "PERIOD_S", 0.001)
    delay.watch(asyncio.get_running_loop())
    await measured.wait()
    assert delay.delay_s.total >= 0
