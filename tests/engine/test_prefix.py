import numpy as np

from generation.engine.interface import Block
from generation.engine.prefix import PrefixCache, chunk_keys


def _block(value: float = 0, size: int = 256) -> Block:
    return np.full(size, value, np.float32)


def test_the_last_token_is_never_part_of_a_chunk() -> None:
    assert [len(list(chunk_keys(range(n), 4))) for n in (0, 1, 4, 5, 8, 9)] == [0, 0, 0, 1, 1, 2]


def test_a_key_stands_for_everything_before_it() -> None:
    first = list(chunk_keys([1, 2, 3, 4, 5, 6, 7], 2))
    other = list(chunk_keys([9, 2, 3, 4, 5, 6, 7], 2))
    longer = list(chunk_keys([1, 2, 3, 4, 9, 9, 9], 2))
    assert not set(first) & set(other)
    assert first[:2] == longer[:2]
    assert first[2] != longer[2]


def test_a_salt_makes_other_keys() -> None:
    keys = [tuple(chunk_keys([1, 2, 3, 4, 5], 2, salt)) for salt in ("", "a", "b")]
    assert not set(keys[0]) & set(keys[1]) | set(keys[1]) & set(keys[2])


def test_the_longest_known_beginning_is_found() -> None:
    cache = PrefixCache(1 << 20)
    keys = list(chunk_keys(range(9), 2))
    for number in (0, 1, 3):
        cache.add(keys[number], _block(number))
    assert [block[0] for block in cache.match(keys)] == [0, 1]
    assert cache.match([keys[2]]) == []


def test_it_never_grows_past_its_capacity() -> None:
    cache = PrefixCache(3 * 1024)
    for number in range(10):
        cache.add(bytes([number]), _block(number))
        assert cache.size <= cache.capacity
    assert [bytes([number]) in cache for number in range(10)] == [False] * 7 + [True] * 3


def test_a_block_larger_than_the_capacity_is_not_kept() -> None:
    cache = PrefixCache(1000)
    cache.add(b"large", _block())
    assert b"large" not in cache
    assert cache.size == 0


def test_what_is_used_stays_and_later_chunks_go_first() -> None:
    cache = PrefixCache(3 * 1024)
    for key in (b"a1", b"a2", b"b1"):
        cache.add(key, _block())
    cache.match([b"a1", b"a2"])
    cache.add(b"c1", _block())
    cache.add(b"d1", _block())
    assert (b"b1" in cache, b"a2" in cache, b"a1" in cache) == (False, False, True)


def test_adding_a_key_twice_counts_once() -> None:
    cache = PrefixCache(1 << 20)
    cache.add(b"key", _block(1))
    cache.add(b"key", _block(2))
    assert cache.size == 1024
