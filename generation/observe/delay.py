"""Measure the delay of event loops with a timer that records how overdue it runs.

Code that blocks an event loop delays every request on it. This metric shows such code in production.
"""

import asyncio
from weakref import WeakSet

from generation.observe.histogram import LONG, Histogram

PERIOD_S = 0.1

delay_s = Histogram(LONG)
_watched: "WeakSet[asyncio.AbstractEventLoop]" = WeakSet()


def watch(loop: asyncio.AbstractEventLoop) -> None:
    """Measure the delay of a loop from now on until it is closed; idempotent."""
    if loop not in _watched:
        _watched.add(loop)
        _measure_later(loop)


def _measure_later(loop: asyncio.AbstractEventLoop) -> None:
    due = loop.time() + PERIOD_S

    def measure() -> None:
        delay_s.observe(max(0.0, loop.time() - due))
        _measure_later(loop)

    loop.call_at(due, measure)
