"""The cases that are simulated, and what comes out of each."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import simpy

from benchmarks.figures import percentile
from benchmarks.scale.curves import Curves
from benchmarks.scale.fleet import Fleet, Policy, simulate
from benchmarks.scale.instance import Instance, Seen, Shape
from benchmarks.scale.platform import MOST_INSTANCES, MOST_REPLICAS, ContainerApps, Premium
from benchmarks.scale.points import OPEN_S, PEAK, START_S
from benchmarks.scale.traffic import Bursts, open_loop

SHAPE = Shape()
# The part of its speed that an instance is planned for.
ROOM = 0.6
RATES = (1, 10, 100, 1000, 10_000)
STARTS = (5.0, 15.0, 30.0, 60.0, 120.0)
APPS, PREMIUM = "Container Apps", "Premium"
# Requests of a run at most; but a run has a minute of steady traffic, or a period of bursts, at least.
REQUESTS, STEADY_S, PERIOD_S = 100_000, 60.0, 300.0


@dataclass(frozen=True, slots=True)
class Case:
    """A fleet under load.

    Attributes:
        plan: whose rule starts and stops instances.
        rate: requests a second, in the mean.
        peak: the rate of a burst, as a multiple of the mean; 1 is steady.
        always: instances that always run; 0 stands for what the plan needs at least.
        prewarmed: instances that wait for a burst.
        start_s: what an instance takes to start.
    """

    plan: str
    rate: float
    peak: float = 1.0
    always: int = 0
    prewarmed: int = 1
    start_s: float = START_S

    @property
    def seconds(self) -> float:
        """How long it is simulated: whole periods of bursts."""
        least = STEADY_S if self.peak == 1 else PERIOD_S
        return least * max(1, min(int(4 * PERIOD_S / least), int(REQUESTS / self.rate / least)))


def needed(curves: Curves, rate: float, shape: Shape = SHAPE) -> int:
    """Return how many instances the sizing rule asks for."""
    return max(1, math.ceil(rate * curves.request(shape.prompt, shape.new, shape.rows) / ROOM))


def concurrency(curves: Curves, shape: Shape = SHAPE) -> int:
    """Return the concurrency of a rule of Container Apps: the platform counts requests a second with it."""
    return max(1, int(ROOM / curves.request(shape.prompt, shape.new, shape.rows)))


def cases(curves: Curves) -> Iterator[Case]:
    """Yield all cases: both plans at every load, steady and in bursts, and what always-ready instances buy."""
    for rate in RATES:
        at_peak = needed(curves, PEAK * rate)
        for plan in (APPS, PREMIUM):
            yield Case(plan, rate)
            if needed(curves, rate) <= _most(plan):
                yield Case(plan, rate, PEAK)
                yield Case(plan, rate, PEAK, always=min(at_peak, _most(plan)))
        if needed(curves, rate) <= MOST_INSTANCES:
            yield Case(PREMIUM, rate, PEAK, prewarmed=4)
    for start_s in STARTS:
        for plan in (APPS, PREMIUM):
            if start_s != START_S:
                yield Case(plan, 100, PEAK, start_s=start_s)


def _most(plan: str) -> int:
    return MOST_REPLICAS if plan == APPS else MOST_INSTANCES


def run(case: Case, curves: Curves, shape: Shape = SHAPE, seed: int = 1) -> dict[str, Any]:
    """Simulate a case; it begins with what the plan keeps running between bursts."""
    environment, seen = simpy.Environment(), Seen()
    bursts = Bursts(case.peak, period_s=PERIOD_S)
    calm = case.rate * bursts.low
    apps = ContainerApps(case.always, concurrency=concurrency(curves, shape))
    policy: Policy = apps
    begin = math.ceil(calm / apps.concurrency)
    if case.plan == PREMIUM:
        policy = Premium(max(1, case.always), case.prewarmed)
        begin = needed(curves, calm, shape)
    most = _most(case.plan)
    begin = min(most, max(begin, case.always, 1))
    fleet = Fleet(environment, lambda: Instance(environment, curves, shape, seen), seen, case.start_s, policy)
    fleet.begin(begin, min(case.prewarmed, most - begin) if case.plan == PREMIUM else 0)
    simulate(fleet, bursts.arrivals(case.rate, case.seconds, seed), case.seconds)
    mean = fleet.close()
    return asdict(case) | {
        "requests": fleet.arrived,
        "first_p50_s": percentile(seen.first, 0.5),
        "first_p99_s": percentile(seen.first, 0.99),
        "refused": seen.refused / fleet.arrived,
        "peak_instances": fleet.peak,
        "hours": mean,
    }


def beside(points: Sequence[Mapping[str, Any]], curves: Curves) -> list[dict[str, float]]:
    """Return every open loop that was measured on one server, and what the simulation says of the same arrivals.

    The figures of a rate are medians of its rounds.
    """
    found = []
    measured = [point for point in points if point["kind"] == "open"]
    for rate in dict.fromkeys(point["rate"] for point in measured):
        rounds = [point for point in measured if point["rate"] == rate]
        simulated = [opened(point, curves) for point in rounds]
        found.append(
            {"rate": rate, "rate_s": median(point["rate_s"] for point in rounds), "rounds": len(rounds)}
            | {name: median(point[name] for point in rounds) for name in ("first_p50_ms", "first_p99_ms")}
            | {name: median(one[name] for one in simulated) for name in ("simulated_p50_ms", "simulated_p99_ms")}
        )
    return found


def opened(point: Mapping[str, Any], curves: Curves) -> dict[str, float]:
    """Return what one instance does when requests arrive at the times of an open loop that was measured."""
    environment, seen = simpy.Environment(), Seen()
    shape = Shape(int(point["prompt"]), int(point["new"]), int(point["rows"]))
    fleet = Fleet(environment, lambda: Instance(environment, curves, shape, seen), seen, START_S)
    fleet.begin(1)
    arrivals = open_loop(point["rate_s"], OPEN_S, point["round"])
    simulate(fleet, arrivals, 10 * OPEN_S)
    parts = {"simulated_p50_ms": 0.5, "simulated_p99_ms": 0.99}
    return {name: 1000 * percentile(seen.first, part) for name, part in parts.items()}
