"""Against plain sorts and running sums, on numbers small enough that every sum is exact."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.sampling.selection import BLOCK, Floats, invert, largest, smallest_until

SIXTEENTHS = st.integers(1, 16).map(lambda numerator: numerator / 16)
# Steps of a 32nd of a nat put two keys into a bin; 40 is beyond the last bin; an infinite key is a token ruled out.
KEYS = st.one_of(st.integers(0, 40 * 32).map(lambda step: step / 32), st.just(np.inf))


def _floats(values: list[float] | list[int]) -> Floats:
    return np.array(values, np.float32)


def _smallest_until(keys: list[float], weights: list[int], mass: float) -> list[bool]:
    marked, sum_so_far = [False] * len(keys), 0
    for place in sorted(range(len(keys)), key=keys.__getitem__):
        marked[place] = True
        sum_so_far += weights[place]
        if sum_so_far >= mass * sum(weights):
            break
    return marked


def _integers(seed: int, size: int, below: int) -> Floats:
    return np.random.default_rng(seed).integers(0, below, size).astype(np.float32)


@given(st.integers(0, 1 << 32), st.integers(1, 2000), st.sampled_from([2, 50, 10**6]), st.integers(1, 30))
def test_the_largest_and_their_ties_are_among_the_candidates(seed: int, size: int, below: int, k: int) -> None:
    values = _integers(seed, size, below)
    found = largest(values, k).tolist()
    least = np.sort(values)[::-1][:k][-1]
    assert set(np.flatnonzero(values >= least).tolist()) <= set(found)
    assert found == sorted(set(found))


@pytest.mark.parametrize("size", [64 * 785, 64 * 785 + 17])
def test_there_are_few_candidates(size: int) -> None:
    values = np.random.default_rng(0).normal(size=size).astype(np.float32)
    assert len(largest(values, 50)) < 70


def test_the_largest_may_all_be_at_the_end() -> None:
    values = np.arange(64 * 785 + 17, dtype=np.float32)
    assert set(range(len(values) - 50, len(values))) <= set(largest(values, 50).tolist())


def test_none_is_asked_for() -> None:
    assert largest(_floats([1, 2]), 0).tolist() == []


@given(st.lists(st.tuples(KEYS, st.integers(0, 8)), min_size=1, max_size=60), SIXTEENTHS)
def test_the_smallest_keys_are_those_of_a_full_sort(entries: list[tuple[float, int]], mass: float) -> None:
    keys, weights = [key for key, _ in entries], [weight for _, weight in entries]
    weights[0] += 1  # not all are 0
    assert smallest_until(_floats(keys), _floats(weights), mass).tolist() == _smallest_until(keys, weights, mass)


def test_among_equal_keys_the_first_are_marked() -> None:
    assert smallest_until(_floats([3, 3, 3, 3]), _floats([1, 1, 1, 1]), 0.5).tolist() == [True, True, False, False]


def test_keys_beyond_the_bins_are_sorted_too() -> None:
    keys = _floats([500, 90, 300, 100])
    assert smallest_until(keys, _floats([1, 1, 1, 1]), 0.5).tolist() == [False, True, False, True]


@given(st.integers(0, 1 << 32), st.integers(1, 5 * BLOCK), st.integers(2, 9), st.integers(0, 1023))
def test_inversion_is_that_of_the_running_sum(seed: int, size: int, below: int, part: int) -> None:
    weights = _integers(seed, size, below)
    weights[size // 2] += 1
    expected = np.searchsorted(np.cumsum(weights), part / 1024 * weights.sum(), side="right")
    assert invert(weights, part / 1024) == expected


@pytest.mark.parametrize("uniform", [0.0, 0.1, 0.5, 1 - 2**-53])
@pytest.mark.parametrize("size", [3, BLOCK, 5 * BLOCK + 1])
def test_what_has_no_weight_is_never_met(size: int, uniform: float) -> None:
    """Sums of these weights are rounded, in blocks and one by one differently, and zeros surround them."""
    weights = np.zeros(size, np.float32)
    weights[1 : max(2, size - 2) : 3] = 0.1
    assert weights[invert(weights, uniform)] > 0


def test_rounding_does_not_lead_past_the_end() -> None:
    """The largest uniform there is, on weights whose sums, in blocks and one by one, differ in their last bits."""
    for seed in range(300):
        weights = np.exp(np.random.default_rng(seed).normal(size=4345) * 3).astype(np.float32)
        weights[-300:] = 0
        assert weights[invert(weights, 1 - 2**-53)] > 0, seed
