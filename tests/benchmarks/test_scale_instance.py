"""One simulated instance, compared with closed forms of queueing theory and with the engine's loop."""

import pytest
import simpy

from benchmarks.scale.curves import Curves
from benchmarks.scale.instance import Instance, Seen, Shape
from benchmarks.scale.traffic import poisson

# A run takes 10 ms for any number of tokens; a step takes 10 ms for one row and 1 ms for each additional row.
CURVES = Curves(0.0, 0.01, 0.0, 0.0, ((1, 0.01), (11, 0.02)), 0.0)


def serve(arrivals: list[float], shape: Shape, curves: Curves = CURVES, seconds: float = 1e6) -> Seen:
    environment, seen = simpy.Environment(), Seen()
    instance = Instance(environment, curves, shape, seen)

    def arrive() -> simpy.events.ProcessGenerator:
        for at in arrivals:
            yield environment.timeout(at - environment.now)
            instance.submit(at)

    environment.process(arrive())
    environment.run(until=seconds)
    return seen


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_row_is_a_queue_with_a_constant_time_of_service(load: float) -> None:
    # A run and four steps: 50 ms. The mean wait of M/D/1 is load / (2 (1 - load)) times that (Pollaczek and Khinchine).
    shape = Shape(prompt=16, new=5, rows=1, waiting=10**6)
    seen = serve(list(poisson(load / 0.05, 20_000, 7)), shape)

    waits = [first - 0.01 for first in seen.first]
    assert sum(waits) / len(waits) == pytest.approx(0.05 * load / (2 * (1 - load)), rel=0.05)


def test_more_rows_share_a_step() -> None:
    # The first iteration takes 20 ms, a run and a step of one row. Then the second is prefilled, and both share steps
    # of 11 ms; the first is done after eight of them, and the third gets its row.
    seen = serve([0.0, 0.001, 0.001], Shape(prompt=16, new=10, rows=2))

    assert seen.first == pytest.approx([0.01, 0.029, 0.019 + 0.01 + 8 * 0.011 + 0.01])


def test_a_request_waits_for_the_end_of_the_iteration_that_runs() -> None:
    seen = serve([0.0, 0.011], Shape(prompt=16, new=10, rows=2))

    # The first iteration, a run and a step, ends after 20 ms; then the second prompt takes a run.
    assert seen.first == pytest.approx([0.01, 0.009 + 0.01])


def test_a_long_prompt_takes_a_chunk_in_each_iteration() -> None:
    # Three chunks, the last of 44 tokens, and 0.1 ms for each token.
    curves = Curves(0.0, 0.01, 0.0001, 0.0, ((1, 0.01), (2, 0.01)), 0.0)
    seen = serve([0.0], Shape(prompt=300, new=1, rows=2), curves)

    assert seen.first == pytest.approx([3 * 0.01 + 300 * 0.0001])


def test_what_the_queue_cannot_hold_is_refused() -> None:
    seen = serve([0.0] * 10, Shape(prompt=16, new=5, rows=1, waiting=4))

    # One runs, and four wait.
    assert (len(seen.first), seen.refused) == (5, 5)


def test_the_time_of_a_request_over_http_comes_on_top() -> None:
    curves = Curves(0.5, 0.01, 0.0, 0.0, ((1, 0.01), (2, 0.01)), 0.0)

    assert serve([0.0], Shape(new=2, rows=1), curves).first == pytest.approx([0.51])
