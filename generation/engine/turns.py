"""Whose turn it is: requests share the engine by what they cost, however many prompts each of them brings.

Weighted fair queueing (Demers, Keshav and Shenker 1989) with equal weights: a clock advances by the cost of what is
admitted, divided by the requests that wait. A request begins at the clock's time and moves on by the cost of each of
its prompts; the one that is furthest behind is next. So a request that arrives beside a long list is served at
once, and neither the list nor the newcomers can starve the other.
"""

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generation.engine.group import Group


@dataclass(slots=True, eq=False)
class Flow:
    """The prompts that one request brought.

    Attributes:
        arrival: number of the request.
        time: the clock's time at which its next prompt is due.
        waiting: its prompts in the queue.
        tokens: prompt tokens of these.
        served: whether one of its prompts has been admitted; among those due at the same time newcomers are first.
        running: its prompts that are prefilled or decoded.
        prefilling: those that are prefilled.
        prefilled_at: when one of them last had a chunk computed, as a count of chunks.
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
    """The requests that wait or run, by a key of their own."""

    def __init__(self) -> None:
        self._flows: dict[Hashable, Flow] = {}
        self._clock = 0.0
        self._arrivals = 0

    def __getitem__(self, key: Hashable) -> Flow:
        return self._flows[key]

    def waiting(self) -> list[Flow]:
        """Return the requests with prompts in the queue, the next in turn first."""
        flows = [flow for flow in self._flows.values() if flow.waiting]
        return sorted(flows, key=lambda flow: (flow.time, flow.served, flow.arrival))

    def __iter__(self) -> Iterator[Flow]:
        return iter(self._flows.values())

    def join(self, key: Hashable) -> Flow:
        """Return the request with this key; a new one begins now."""
        if key not in self._flows:
            self._arrivals += 1
            self._flows[key] = Flow(self._arrivals, self._clock)
        return self._flows[key]

    def charge(self, flow: Flow, cost: float) -> None:
        """Take note that a prompt of `flow`, which still counts as waiting, was admitted."""
        self._clock += cost / max(1, sum(bool(one.waiting) for one in self._flows.values()))
        flow.time += cost
        flow.served = True

    def leave(self, key: Hashable) -> None:
        """Forget the request if nothing of it waits or runs."""
        flow = self._flows[key]
        if not (flow.waiting or flow.running):
            del self._flows[key]
