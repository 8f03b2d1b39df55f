"""A fleet of simulated instances: the behaviour of the plans, and its cost."""

import pytest
import simpy

from benchmarks.scale.curves import Curves
from benchmarks.scale.fleet import Fleet, Policy, simulate
from benchmarks.scale.instance import Instance, Seen, Shape
from benchmarks.scale.platform import ContainerApps, Premium
from benchmarks.scale.study import Case, concurrency, needed, run
from benchmarks.scale.traffic import poisson

# A request is a run and a step of 16 rows: 20 ms, in a batch of 16.
CURVES = Curves(0.0, 0.01, 0.0, 0.0, ((1, 0.01), (16, 0.01)), 0.0)
SHAPE = Shape(prompt=16, new=2)


def fleet(policy: Policy | None = None, start_s: float = 10.0, shape: Shape = SHAPE) -> Fleet:
    environment, seen = simpy.Environment(), Seen()
    return Fleet(environment, lambda: Instance(environment, CURVES, shape, seen), seen, start_s, policy)


def test_without_a_platform_the_instances_stay() -> None:
    made = fleet()
    made.begin(3)
    simulate(made, poisson(10, 100, 1), 100)

    assert (len(made.ready), made.peak, made.close()) == (3, 3, 3.0)
    assert len(made.seen.first) == made.arrived


def test_a_request_that_finds_no_instance_waits_for_one_to_start() -> None:
    made = fleet(ContainerApps())
    simulate(made, [1.0], 30)

    assert made.seen.first == [pytest.approx(10.01)]


def test_instances_that_start_are_paid_for() -> None:
    made = fleet(start_s=5)
    made.begin(1)

    def later() -> simpy.events.ProcessGenerator:
        yield made.environment.timeout(10)
        made.start()

    made.environment.process(later())
    simulate(made, [], 20)
    assert (len(made.ready), made.close()) == (2, 1.5)


def test_requests_go_to_the_less_busy_of_two() -> None:
    made = fleet(shape=Shape(prompt=16, new=1000))
    made.begin(2)
    simulate(made, [0.001 * number for number in range(40)], 0.1)

    assert abs(made.ready[0].load - made.ready[1].load) <= 4


def test_container_apps_add_more_replicas_each_time() -> None:
    made = fleet(ContainerApps(concurrency=1), start_s=1)
    made.begin(1)
    sizes = []

    def look() -> simpy.events.ProcessGenerator:
        while True:
            yield made.environment.timeout(15)
            sizes.append(made.size)

    simulated = poisson(100, 100, 1)
    made.environment.process(look())
    simulate(made, simulated, 76)
    assert sizes == [1, 2, 6, 14, 30]


def test_container_apps_keep_what_was_needed_in_the_last_minutes() -> None:
    made = fleet(ContainerApps(concurrency=10, down_s=60), start_s=1)
    made.begin(4)
    simulate(made, poisson(40, 30, 1), 60)
    assert len(made.ready) >= 4
    made.environment.run(until=150)

    assert len(made.ready) == 0


def test_container_apps_never_have_more_than_the_most() -> None:
    made = fleet(ContainerApps(most=5, concurrency=1), start_s=1)
    made.begin(1)
    simulate(made, poisson(50, 200, 1), 200)

    assert made.peak == 5


def test_a_prewarmed_instance_serves_as_soon_as_the_others_are_busy() -> None:
    made = fleet(Premium(always_ready=1, prewarmed=1), start_s=100, shape=Shape(prompt=16, new=1000))
    made.begin(1, spare=1)
    simulate(made, [0.01 * number for number in range(20)], 3)

    assert len(made.ready) == 2
    # Another one is started in its place.
    assert (made.spare, made.starting) == (0, 1)


def test_premium_never_has_more_than_the_plan() -> None:
    made = fleet(Premium(most=3, prewarmed=5), start_s=1, shape=Shape(prompt=16, new=1000))
    made.begin(1)
    simulate(made, poisson(50, 60, 1), 60)

    assert made.peak == 3


def test_premium_keeps_the_instances_that_are_always_ready() -> None:
    made = fleet(Premium(always_ready=2, prewarmed=0, idle_s=5), start_s=1)
    made.begin(4)
    simulate(made, [], 60)

    assert len(made.ready) == 2


def test_the_rule_rounds_up_and_leaves_room() -> None:
    each = CURVES.request(SHAPE.prompt, SHAPE.new)

    assert needed(CURVES, 0.6 / each, SHAPE) == 1
    assert needed(CURVES, 0.61 / each, SHAPE) == 2


def test_the_rule_of_container_apps_counts_requests_a_second() -> None:
    each = CURVES.request(SHAPE.prompt, SHAPE.new)

    assert concurrency(CURVES, SHAPE) == int(0.6 / each) > 1


def test_instances_that_are_ready_for_a_burst_shorten_the_wait_and_cost_more() -> None:
    curves = Curves(0.0, 0.01, 0.0, 0.0, ((1, 0.01), (16, 0.02)), 0.0)
    waits, ready = (run(Case("Premium", 20, 2, always, start_s=30), curves, Shape(new=64)) for always in (0, 6))

    assert ready["first_p99_s"] < waits["first_p99_s"]
    assert ready["hours"] > waits["hours"]
    assert ready["requests"] == waits["requests"]
