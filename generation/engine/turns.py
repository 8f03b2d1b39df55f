"""Fair queuing: requests share the engine equally by cost, regardless of their number of prompts.

This is weighted fair queuing (Demers, Keshav and Shenker 1989) with equal weights. A virtual clock advances by the cost
of each admitted prompt divided by the number of waiting requests. A request starts at the clock's time and advances by
the cost of each of its prompts. The request with the earliest time is next. A request that arrives beside a long list
of prompts is therefore served at once, and neither can starve the other.
"""

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generation.engine.group import Group


@dataclass(slots=True, eq=False)
class Flow:
    """The prompts of one request.

    Attributes:
        arrival: number of the request in order of arrival.
        time: virtual time at which its next prompt is due.
        waiting: its prompts in the queue.
        tokens: number of prompt tokens in `waiting`.
        served: whether one of its prompts has been admitted. Of requests due at the same time, unserved ones go first.
        running: number of its prompts that are prefilling or decoding.
        prefilling: number of its prompts that are prefilling.
        prefilled_at: number of the last chunk computed for it, in a count over all requests; 0 for none.
    """

    arrival: int
    time: float
    waiting: "deque[Group]" = field(default_factory=deque)
    tokens: int = 0
    served: bool = False
    running: int = 0
    prefilling: int = 0
    prefilled_at: int = 0


class Turns:
    """The requests that wait or run, by a key that identifies each."""

    def __init__(self) -> None:
        self._flows: dict[Hashable, Flow] = {}
        self._clock = 0.0
        self._arrivals = 0

    def __getitem__(self, key: Hashable) -> Flow:
        return self._flows[key]

    def waiting(self) -> list[Flow]:
        """Return the requests with prompts in the queue, next in turn first."""
        flows = [flow for flow in self._flows.values() if flow.waiting]
        return sorted(flows, key=lambda flow: (flow.time, flow.served, flow.arrival))

    def __iter__(self) -> Iterator[Flow]:
        return iter(self._flows.values())

    def join(self, key: Hashable) -> Flow:
        """Return the request with this key; create it at the current virtual time if it is new."""
        if key not in self._flows:
            self._arrivals += 1
            self._flows[key] = Flow(self._arrivals, self._clock)
        return self._flows[key]

    def charge(self, flow: Flow, cost: float) -> None:
        """Record the cost of an admitted prompt. Call this before the prompt is removed from ``flow.waiting``."""
        self._clock += cost / max(1, sum(bool(one.waiting) for one in self._flows.values()))
        flow.time += cost
        flow.served = True

    def leave(self, key: Hashable) -> None:
        """Remove the request if none of its prompts waits or runs."""
        flow = self._flows[key]
        if not (flow.waiting or flow.running):
            del self._flows[key]
