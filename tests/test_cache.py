import sys
from pathlib import Path

import numpy as np
import pytest

from generation.cache import KVCache, bytes_per_token


@pytest.fixture
def cache() -> KVCache:
    return KVCache(layers=2, heads=3, head_size=16, context=64, batch=2, staging=2)


def _fill(cache: KVCache, row: int) -> None:
    cache.data[:, row] = np.random.default_rng(row).normal(size=cache.data[:, row].shape)


def test_copy_takes_the_first_tokens_and_leaves_other_rows_alone(cache: KVCache) -> None:
    for row in range(4):
        _fill(cache, row)
    before = cache.data.copy()
    cache.copy(3, 1, 5)
    assert np.array_equal(cache.data[:, 1, :, :5], before[:, 3, :, :5])
    assert np.array_equal(cache.data[:, 1, :, 5:], before[:, 1, :, 5:])
    assert np.array_equal(cache.data[:, [0, 2, 3]], before[:, [0, 2, 3]])


def test_what_is_read_can_be_written_elsewhere(cache: KVCache) -> None:
    _fill(cache, 2)
    cache.write(0, 8, cache.read(2, 16, 32))
    assert np.array_equal(cache.data[:, 0, :, 8:24], cache.data[:, 2, :, 16:32])


def test_a_block_is_a_copy(cache: KVCache) -> None:
    _fill(cache, 0)
    block = cache.read(0, 0, 4)
    expected = block.copy()
    cache.data[:] = 0
    assert np.array_equal(block, expected)


def test_release_leaves_other_rows_alone(cache: KVCache) -> None:
    for row in range(4):
        _fill(cache, row)
    before = cache.data.copy()
    cache.release(1)
    assert np.array_equal(cache.data[:, [0, 2, 3]], before[:, [0, 2, 3]])


def _resident() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_release_gives_memory_back_to_the_system() -> None:
    big = KVCache(layers=4, heads=8, head_size=64, context=1024, batch=2, staging=0)
    empty = _resident()
    big.data[:, 0] = 1
    size = big.data[:, 0].nbytes
    assert _resident() - empty > size // 2
    big.release(0)
    assert _resident() - empty < size // 4


def test_reserving_a_large_cache_touches_no_memory() -> None:
    before = _resident()
    big = KVCache(layers=6, heads=12, head_size=64, context=1024, batch=16, staging=4)
    assert big.data.nbytes == 20 * 1024 * bytes_per_token(6, 12, 64)
    assert _resident() - before < big.data.nbytes // 50


def test_addresses_are_where_the_rows_are(cache: KVCache) -> None:
    base = cache.data.ctypes.data
    assert cache.address(1, 2) - base == cache.data.strides[0] + 2 * cache.data.strides[1]
