"""Simulate instances behind a platform that starts and stops them, by discrete events."""

import random
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import simpy

from benchmarks.scale.instance import Instance, Seen


class Policy(Protocol):
    """The platform's rule for starting and stopping instances.

    Attributes:
        every_s: seconds between two evaluations.
        keeps_spares: whether a started instance waits to be activated; otherwise it serves at once.
    """

    every_s: float
    keeps_spares: bool

    def act(self, fleet: "Fleet") -> None:
        """Start, activate and stop instances."""


@dataclass(slots=True)
class Fleet:
    """The instances of an app.

    Attributes:
        environment: the simulation's clock.
        make: creates an instance that can serve.
        seen: measurements of the clients.
        start_s: seconds from the decision to start an instance until it can serve.
        policy: the platform's rule; None keeps the number of instances constant.
        seed: seed of the choice between instances.
        ready: instances that serve requests.
        spare: number of prewarmed instances, which could serve at once but receive no requests.
        starting: number of instances that are starting.
        arrived: number of requests so far.
        peak: maximum number of instances at a time.
        instance_s: total seconds of all instances, busy or idle.
    """

    environment: simpy.Environment
    make: Callable[[], Instance]
    seen: Seen
    start_s: float
    policy: Policy | None = None
    seed: int = 0
    ready: list[Instance] = field(default_factory=list)
    spare: int = 0
    starting: int = 0
    arrived: int = 0
    peak: int = 0
    instance_s: float = 0.0
    _held: deque[float] = field(default_factory=deque)
    _changed: float = 0.0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - not for secrets

    @property
    def size(self) -> int:
        """Number of instances in any state; all of them are billed."""
        return len(self.ready) + self.spare + self.starting

    @property
    def load(self) -> int:
        """Number of waiting and running requests."""
        return sum(one.load for one in self.ready) + len(self._held)

    def begin(self, count: int, spare: int = 0) -> None:
        """Begin the simulation with `count` serving and `spare` prewarmed instances."""
        self.ready.extend(self.make() for _ in range(count))
        self.spare = spare
        self.peak = self.size

    def start(self) -> None:
        """Start an instance, which can serve after `start_s`."""
        self._count()
        self.starting += 1
        self.peak = max(self.peak, self.size)
        self.environment.process(self._start())

    def _start(self) -> Generator[Any, None, None]:
        yield self.environment.timeout(self.start_s)
        self.starting -= 1
        self.spare += 1
        if not self.ready or self.policy is None or not self.policy.keeps_spares:
            self.activate()

    def activate(self) -> None:
        """Let a spare instance serve, and give it the held requests."""
        self.spare -= 1
        self.ready.append(self.make())
        while self._held:
            self._route(self._held.popleft())

    def stop(self) -> None:
        """Remove the least busy instance; its running requests are completed."""
        self._count()
        self.ready.remove(min(self.ready, key=lambda one: one.load))

    def submit(self) -> None:
        """Let a request arrive now; hold it while no instance is ready."""
        self.arrived += 1
        if self.ready:
            self._route(self.environment.now)
        else:
            self._held.append(self.environment.now)
            if not self.size:
                self.start()

    def _route(self, arrived: float) -> None:
        """Send a request to the less busy of two instances drawn at random (Mitzenmacher 2001)."""
        count = len(self.ready)
        one = self.ready[int(self._random.random() * count)]
        if count > 1:
            other = self.ready[int(self._random.random() * count)]
            one = other if other.load < one.load else one
        one.submit(arrived)

    def _count(self) -> None:
        """Add the instance seconds since the last change of the number of instances."""
        now = self.environment.now
        self.instance_s += self.size * (now - self._changed)
        self._changed = now

    def close(self) -> float:
        """Return the mean number of instances, which equals instance hours per hour."""
        self._count()
        return self.instance_s / self.environment.now


def simulate(fleet: Fleet, arrivals: Iterable[float], seconds: float) -> None:
    """Run the simulation for `seconds`, with requests at the times `arrivals`."""
    environment = fleet.environment

    def arrive() -> Generator[Any, None, None]:
        for at in arrivals:
            yield environment.timeout(at - environment.now)
            fleet.submit()

    def scale(policy: Policy) -> Generator[Any, None, None]:
        while True:
            yield environment.timeout(policy.every_s)
            policy.act(fleet)

    environment.process(arrive())
    if fleet.policy is not None:
        environment.process(scale(fleet.policy))
    environment.run(until=seconds)
