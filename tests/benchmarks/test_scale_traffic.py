"""Arrival times of requests, compared with the properties of their processes."""

from itertools import pairwise

import pytest

from benchmarks.scale.traffic import Bursts, open_loop, poisson


def test_a_poisson_process_has_its_rate_and_its_spread() -> None:
    times = list(poisson(50, 400, 1))
    gaps = [second - first for first, second in pairwise(times)]
    mean = sum(gaps) / len(gaps)

    assert len(times) == pytest.approx(20_000, rel=0.02)
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(mean**2, rel=0.05)


def test_a_seed_gives_the_same_times() -> None:
    assert list(poisson(5, 10, 3)) == list(poisson(5, 10, 3)) != list(poisson(5, 10, 4))


def test_an_open_loop_has_a_request_at_least() -> None:
    assert open_loop(1e-9, 1, 1) == [0.0]
    assert open_loop(5, 10, 2) == list(poisson(5, 10, 2005))


def test_bursts_have_the_mean_and_the_peak() -> None:
    bursts = Bursts(peak=2, high_s=60, period_s=300)
    times = list(bursts.arrivals(20, 3000, 1))
    high = [at for at in times if at % 300 >= 240]

    assert bursts.low == 0.75
    assert len(times) == pytest.approx(20 * 3000, rel=0.02)
    assert len(high) == pytest.approx(2 * 20 * 600, rel=0.03)
    assert times == sorted(times)


def test_without_a_peak_traffic_is_steady() -> None:
    assert Bursts().low == 1


def test_bursts_beyond_the_mean_are_refused() -> None:
    with pytest.raises(ValueError, match="more than the mean"):
        _ = Bursts(peak=6, high_s=60, period_s=300).low
