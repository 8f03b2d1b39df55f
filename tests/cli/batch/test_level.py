"""The concurrency that a deployment can take."""

import pytest

from generation.cli.batch.level import FIRST, KEPT, QUEUE_S, Level, queue_s


def test_it_grows_with_each_answer_until_the_first_congestion_and_then_slowly() -> None:
    level = Level(100)
    assert level.limit == FIRST
    for _ in range(16):
        level.answered(0, 0.0)
    assert level.limit == FIRST + 16
    level.congested(0)
    lowered = level.limit
    assert lowered == int((FIRST + 16) * KEPT)
    for _ in range(lowered + 1):
        level.answered(1, 0.0)
    assert level.limit == lowered + 1


def test_requests_that_were_sent_together_lower_it_once() -> None:
    level = Level(100)
    for _ in range(16):
        level.answered(0, 0.0)
    for _ in range(20):
        level.congested(0)
    assert level.limit == int(20 * KEPT)
    level.congested(level.round)
    assert level.limit == int(20 * KEPT * KEPT)


def test_it_has_bounds() -> None:
    level = Level(6)
    for _ in range(50):
        level.answered(0, 0.0)
    assert level.limit == 6
    for _ in range(50):
        level.congested(level.round)
    assert level.limit == 1
    assert Level(2).limit == 2


def test_a_long_queue_stops_the_growth_and_a_very_long_one_lowers_it() -> None:
    level = Level(100)
    level.answered(0, QUEUE_S + 1)
    assert level.limit == FIRST
    level.answered(0, 2 * QUEUE_S + 1)
    assert level.limit < FIRST


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("queue;dur=1500.0, prefill;dur=2.0", 1.5),
        ("total;dur=3, queue;dur=20", 0.02),
        ("prefill;dur=2.0", 0.0),
        ("queue;dur=1.2.3", 0.0),
        ("", 0.0),
    ],
)
def test_the_time_in_the_queue_is_that_of_the_header(header: str, seconds: float) -> None:
    assert queue_s(header) == seconds
