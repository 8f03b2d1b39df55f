"""Start and stop instances by the documented rules of the two plans; undocumented values are parameters.

- https://learn.microsoft.com/azure/container-apps/scale-app
- https://learn.microsoft.com/azure/azure-functions/functions-premium-plan
- https://learn.microsoft.com/azure/azure-functions/event-driven-scaling
"""

import math
from collections import deque
from dataclasses import dataclass, field

from benchmarks.scale.fleet import Fleet
from benchmarks.scale.points import ROWS

# Maximum replicas of a container app, and instances of a Premium plan on Linux (up to 100 in some regions).
MOST_REPLICAS = 1000
MOST_INSTANCES = 20


@dataclass(slots=True)
class ContainerApps:
    """HTTP scale rule: one replica for every `concurrency` requests per second over the last 15 seconds.

    Attributes:
        least: minimum number of replicas.
        most: maximum number of replicas.
        concurrency: requests per second for each replica. The documentation calls it concurrent requests, and computes
            it as requests divided by seconds. The platform's default is 10.
        every_s: seconds between two evaluations of the rule.
        down_s: seconds for which a replica must not have been needed before it is removed.
        keeps_spares: always False.
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
        """Add 1, then 4, 8, 16 and so on replicas at a time; remove all that were not needed during `down_s`."""
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
            return  # the history is shorter than down_s
        while fleet.size > max(one for _, one in self._wanted) and fleet.ready:
            fleet.stop()


@dataclass(slots=True)
class Premium:
    """Always-ready instances, and prewarmed instances that are activated when the others are busy.

    The documentation defines neither when instances are busy nor when they are removed: `busy` and `idle_s` are
    assumptions.

    Attributes:
        always_ready: number of instances that are never removed.
        prewarmed: number of instances that wait to be activated while there is traffic.
        most: maximum number of instances.
        busy: mean requests per instance above which another instance is activated; the default is half a batch.
        idle_s: seconds with a mean below a quarter of `busy` after which an instance is removed.
        every_s: seconds between two evaluations; each adds at most one instance.
        keeps_spares: always True.
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
        """Activate a spare instance and start another, or remove one."""
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
