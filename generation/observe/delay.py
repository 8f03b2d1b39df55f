"""How late the event loop is: a timer that measures by how much it is overdue.

Whatever holds the loop, holds every request; this shows it in production.
"""

import asyncio
from weakref import WeakSet

from generation.observe.histogram import LONG, Histogram

PERIOD_S = 0.1

delay_s = Histogram(LONG)
_watched: "WeakSet[asyncio.AbstractEventLoop]" = WeakSet()


def watch(loop: asyncio.AbstractEventLoop) -> None:
    """Measure the delay of a loop from now on; idempotent, and over when the loop is closed."""
    if loop not in _watched:
        _watched.add(loop)
        _measure_later(loop)


def _measure_later(loop: asyncio.AbstractEventLoop) -> None:
    due = loop.time() + PERIOD_S

    def measure() -> None:
        delay_s.observe(max(0.0, loop.time() - due))
        _measure_later(loop)

    loop.call_at(due, measure)
