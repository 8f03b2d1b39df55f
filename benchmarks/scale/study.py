"""Define the cases to simulate, and simulate them."""

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
# Planned load of an instance, relative to its throughput.
ROOM = 0.6
RATES = (1, 10, 100, 1000, 10_000)
STARTS = (5.0, 15.0, 30.0, 60.0, 120.0)
APPS, PREMIUM = "Container Apps", "Premium"
# Maximum requests of a run, unless that is less than a minute of steady traffic or one period of bursts.
REQUESTS, STEADY_S, PERIOD_S = 100_000, 60.0, 300.0


@dataclass(frozen=True, slots=True)
class Case:
    """A fleet under load.

    Attributes:
        plan: the plan that starts and stops instances.
        rate: mean requests per second.
        peak: rate of a burst, as a multiple of the mean; 1 is steady.
        always: number of instances that always run; 0 means the plan's minimum.
        prewarmed: number of prewarmed instances.
        start_s: seconds to start an instance.
    """

    plan: str
    rate: float
    peak: float = 1.0
    always: int = 0
    prewarmed: int = 1
    start_s: float = START_S

    @property
    def seconds(self) -> float:
        """Simulated time: a whole number of minutes, or of periods of bursts."""
        least = STEADY_S if self.peak == 1 else PERIOD_S
        return least * max(1, min(int(4 * PERIOD_S / least), int(REQUESTS / self.rate / least)))


def needed(curves: Curves, rate: float, shape: Shape = SHAPE) -> int:
    """Return the number of instances by the sizing rule."""
    return max(1, math.ceil(rate * curves.request(shape.prompt, shape.new, shape.rows) / ROOM))


def concurrency(curves: Curves, shape: Shape = SHAPE) -> int:
    """Return the concurrency of a Container Apps scale rule: the planned requests per second of a replica."""
    return max(1, int(ROOM / curves.request(shape.prompt, shape.new, shape.rows)))


def cases(curves: Curves) -> Iterator[Case]:
    """Yield all cases: both plans at every load, steady and in bursts, with and without more always-ready instances."""
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
    """Simulate a case, starting with the instances that the plan keeps between bursts; return its figures."""
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
    """Return the figures of every measured open loop, and those of a simulation with the same arrivals.

    The figures are medians over the rounds of a rate.
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
    """Simulate one instance with the arrival times of a measured open loop; return the times to the first token."""
    environment, seen = simpy.Environment(), Seen()
    shape = Shape(int(point["prompt"]), int(point["new"]), int(point["rows"]))
    fleet = Fleet(environment, lambda: Instance(environment, curves, shape, seen), seen, START_S)
    fleet.begin(1)
    arrivals = open_loop(point["rate_s"], OPEN_S, point["round"])
    simulate(fleet, arrivals, 10 * OPEN_S)
    parts = {"simulated_p50_ms": 0.5, "simulated_p99_ms": 0.99}
    return {name: 1000 * percentile(seen.first, part) for name, part in parts.items()}
