import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from generation.model.cache import KVCache, bytes_around, bytes_per_token

BATCH, STAGED = 1, 2
SPARE = 16


@pytest.fixture(params=["float32", "int8"])
def cache(request: pytest.FixtureRequest) -> KVCache:
    """Two rows of the batch, then two staging rows, all filled."""
    made = KVCache(layers=2, heads=3, head_size=16, context=64, batch=2, staging=2, dtype=request.param, spare=SPARE)
    for row in range(4):
        view = made.view(row)
        view[:] = np.random.default_rng(row).normal(scale=30, size=view.shape)
    return made


def _rows(cache: KVCache) -> list[np.ndarray]:
    return [cache.view(row).copy() for row in range(4)]


@pytest.mark.parametrize(("source", "target"), [(STAGED, BATCH), (0, BATCH)])
def test_copy_takes_the_first_tokens_and_leaves_the_rest_alone(cache: KVCache, source: int, target: int) -> None:
    before = _rows(cache)
    cache.copy(source, target, 5)
    after = _rows(cache)
    expected = before[source][:, 0, :, :5]
    if after[target].dtype == np.int8:
        expected = np.rint(expected)
    assert np.array_equal(after[target][:, 0, :, :5], expected)
    assert np.array_equal(after[target][:, 0, :, 5:], before[target][:, 0, :, 5:])
    assert all(np.array_equal(before[row], after[row]) for row in range(4) if row != target)


def test_what_is_past_the_range_of_int8_is_clipped() -> None:
    cache = KVCache(layers=1, heads=1, head_size=8, context=8, batch=1, staging=1, dtype="int8", spare=0)
    cache.view(1)[0], cache.view(1)[1] = 300, -128.4
    cache.copy(1, 0, 8)
    assert (cache.view(0)[0, 0, :, :8] == 127).all()
    assert (cache.view(0)[1, 0, :, :8] == -127).all()


def test_what_is_read_can_be_written_elsewhere(cache: KVCache) -> None:
    cache.write(3, 8, cache.read(STAGED, 16, 32))
    assert np.array_equal(cache.view(3)[:, 0, :, 8:24], cache.view(STAGED)[:, 0, :, 16:32])


def test_a_block_is_a_copy(cache: KVCache) -> None:
    block = cache.read(STAGED, 0, 4)
    expected = block.copy()
    cache.view(STAGED)[:] = 0
    assert np.array_equal(block, expected)


@pytest.mark.parametrize("row", [BATCH, STAGED])
def test_release_leaves_other_rows_alone(cache: KVCache, row: int) -> None:
    before = _rows(cache)
    cache.release(row)
    assert all(np.array_equal(before[one], cache.view(one)) for one in range(4) if one != row)


def test_rows_of_a_view_lie_side_by_side(cache: KVCache) -> None:
    both = cache.view(0, 2)
    assert both.shape == (4, 2, 3, 64 + SPARE, 16)
    assert all(entry.flags.c_contiguous for entry in both)


def _resident() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_release_gives_memory_back_to_the_system(dtype: str) -> None:
    big = KVCache(layers=8, heads=16, head_size=64, context=1024, batch=2, staging=0, dtype=dtype, spare=0)
    empty = _resident()
    big.view(0)[:] = 1
    size = big.view(0).nbytes
    assert _resident() - empty > size // 2
    big.release(0)
    left = _resident() - empty
    assert left < size // 4
    assert left <= bytes_around(8, 16, batch=1, staging=0)


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults")
def test_the_next_short_sequence_finds_the_first_pages_of_its_row_in_place() -> None:
    big = KVCache(layers=8, heads=16, head_size=64, context=1024, batch=1, staging=1, dtype="int8", spare=0)
    faults = []
    for row in (0, 1):
        for _ in range(2):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            big.view(row)[:, 0, :, :16] = 1
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
            big.release(row)
    first, again, staged, staged_again = faults
    heads = 2 * 8 * 16
    assert first >= heads
    assert again < heads // 4
    assert min(staged, staged_again) >= heads, "a staging row keeps nothing"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reserving_a_large_cache_touches_no_memory() -> None:
    before = _resident()
    big = KVCache(layers=6, heads=12, head_size=64, context=1024, batch=16, staging=4, dtype="int8", spare=SPARE)
    assert big.view(0, 16).nbytes == 16 * (1024 + SPARE) * bytes_per_token(6, 12, 64, "int8")
    assert _resident() - before < big.view(0, 16).nbytes // 50
