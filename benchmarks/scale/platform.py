"""How the two plans start and stop instances, by their documentation; what it leaves open is a parameter.

- https://learn.microsoft.com/azure/container-apps/scale-app
- https://learn.microsoft.com/azure/azure-functions/functions-premium-plan
- https://learn.microsoft.com/azure/azure-functions/event-driven-scaling
"""

import math
from collections import deque
from dataclasses import dataclass, field

from benchmarks.scale.fleet import Fleet
from benchmarks.scale.points import ROWS

# Replicas of a container app, and instances of a Premium plan on Linux: 20 in most regions, up to 100 in some.
MOST_REPLICAS = 1000
MOST_INSTANCES = 20


@dataclass(slots=True)
class ContainerApps:
    """A rule for HTTP: a replica for every `concurrency` requests a second, as counted over the last 15 seconds.

    Attributes:
        least: replicas that always run.
        most: replicas at most.
        concurrency: of the rule, whose default is 10. The documentation calls it concurrent requests and divides
            requests by seconds.
        every_s: how often the rule is evaluated.
        down_s: only what was not needed for so long is taken away.
        keeps_spares: never.
    """

    least: int = 0
    most: int = MOST_REPLICAS
    concurrency: int = 10
    every_s: float = 15.0
    down_s: float = 300.0
    keeps_spares: bool = False
    _arrived: int = 0
    _step: int = 1
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)

    def act(self, fleet: Fleet) -> None:
        """Add 1, then 4, 8, 16 and so on replicas at a time; take away all that were not needed of late."""
        now = fleet.environment.now
        rate = (fleet.arrived - self._arrived) / self.every_s
        self._arrived = fleet.arrived
        wanted = min(self.most, max(self.least, math.ceil(rate / self.concurrency)))
        self._wanted.append((now, wanted))
        while self._wanted[0][0] < now - self.down_s:
            self._wanted.popleft()
        if wanted > fleet.size:
            for _ in range(min(self._step, wanted - fleet.size)):
                fleet.start()
            self._step = max(4, 2 * self._step)
            return
        self._step = 1
        if now - self._wanted[0][0] < self.down_s - self.every_s:
            return  # what was needed before is not known
        while fleet.size > max(one for _, one in self._wanted) and fleet.ready:
            fleet.stop()


@dataclass(slots=True)
class Premium:
    """Always-ready instances, and prewarmed ones that serve as soon as the others are busy.

    The documentation does not say when the platform finds instances busy, nor when it takes them away: `busy` and
    `idle_s` are assumptions.

    Attributes:
        always_ready: instances that are never taken away.
        prewarmed: instances that wait to be activated while there is traffic.
        most: instances of the plan.
        busy: requests for each instance above which another is activated: half a batch.
        idle_s: an instance is taken away where a quarter of `busy` was not exceeded for so long.
        every_s: instances are added at most once a second.
        keeps_spares: always.
    """

    always_ready: int = 1
    prewarmed: int = 1
    most: int = MOST_INSTANCES
    busy: float = ROWS / 2
    idle_s: float = 60.0
    every_s: float = 1.0
    keeps_spares: bool = True
    _idle: float = 0.0

    def act(self, fleet: Fleet) -> None:
        """Activate a spare instance and begin to start another, or take one away."""
        load = fleet.load / max(1, len(fleet.ready))
        wants_more = load > self.busy and len(fleet.ready) < self.most
        if wants_more and fleet.spare:
            fleet.activate()
        spares = max(self.prewarmed, int(wants_more))
        if fleet.spare + fleet.starting < min(spares, self.most - len(fleet.ready)):
            fleet.start()
        self._idle = self._idle + self.every_s if load < self.busy / 4 else 0.0
        if self._idle >= self.idle_s and len(fleet.ready) > self.always_ready:
            fleet.stop()
            self._idle = 0.0
