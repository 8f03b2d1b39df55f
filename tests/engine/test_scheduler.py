"""The scheduler: admission to the rows and the cache, and what it keeps of a request until its end."""

import pytest

from generation.engine.scheduler import Move
from generation.errors import OverloadedError
from tests.support.scheduling import add, new_group, new_scheduler, start


def test_requests_are_admitted_in_the_order_they_came() -> None:
    scheduler = new_scheduler(staging=2)
    groups = [new_group() for _ in range(3)]
    add(scheduler, *groups)
    scheduler.admit()
    assert list(scheduler.prefilling) == groups[:2]
    assert [group.staging for group in groups[:2]] == [4, 5]
    scheduler.leave_staging(groups[0])
    scheduler.admit()
    assert list(scheduler.prefilling) == groups[1:]
    assert groups[2].staging == 4


def test_every_choice_takes_a_row() -> None:
    scheduler = new_scheduler(rows=4)
    groups = [new_group(choices=3), new_group(choices=2), new_group(choices=1)]
    add(scheduler, *groups)
    scheduler.admit()
    assert list(scheduler.prefilling) == groups[:1], "a later request may not overtake the one that does not fit"


@pytest.mark.parametrize(("first", "second", "admitted"), [(2, 2, 2), (1, 4, 1), (2, 3, 1), (3, 2, 1), (3, 3, 1)])
def test_rows_bound_admission(first: int, second: int, admitted: int) -> None:
    scheduler = new_scheduler(rows=4)
    add(scheduler, new_group(choices=first), new_group(choices=second))
    scheduler.admit()
    assert len(scheduler.prefilling) == admitted


def test_cache_tokens_bound_admission_and_come_back() -> None:
    scheduler = new_scheduler(tokens=40)
    first, second = new_group(4, 1, 8), new_group(4, 1, 24)  # 4 + (4 + 8) = 16 and 4 + (4 + 24) = 32
    add(scheduler, first, second)
    scheduler.admit()
    assert list(scheduler.prefilling) == [first]
    start(scheduler, first)
    scheduler.admit()
    assert not scheduler.prefilling
    scheduler.retire(first, first.sequences[0])
    scheduler.admit()
    assert list(scheduler.prefilling) == [second]
    assert scheduler.reserved_tokens == 32


@pytest.mark.parametrize(("tokens", "admitted"), [(31, 1), (32, 2)])
def test_what_is_reserved_and_what_is_asked_for_add_up(tokens: int, admitted: int) -> None:
    scheduler = new_scheduler(tokens=tokens)
    add(scheduler, new_group(4, 1, 8), new_group(4, 1, 8))  # 16 each
    scheduler.admit()
    assert len(scheduler.prefilling) == admitted


def test_a_staged_token_counts_as_what_it_takes() -> None:
    scheduler = new_scheduler(tokens=100, staged_cost=3)
    group = new_group(4, 2, 8)
    assert scheduler.cost(group.request) == 3 * 4 + 2 * (4 + 8)
    add(scheduler, group)
    scheduler.admit()
    assert (scheduler.reserved_rows, scheduler.reserved_tokens) == (2, 36)
    start(scheduler, group)
    assert (scheduler.reserved_rows, scheduler.reserved_tokens) == (2, 24)
    scheduler.retire(group, group.sequences[0])
    assert (scheduler.reserved_rows, scheduler.reserved_tokens) == (1, 12)


def test_staging_rows_come_after_the_batchs() -> None:
    scheduler = new_scheduler(rows=3, staging=2)
    groups = [new_group(), new_group()]
    add(scheduler, *groups)
    scheduler.admit()
    assert [group.staging for group in groups] == [3, 4]


def test_a_row_that_leaves_is_filled_by_the_last() -> None:
    scheduler = new_scheduler()
    group = new_group(choices=3)
    add(scheduler, group)
    scheduler.admit()
    start(scheduler, group)
    a, b, c = group.sequences
    c.length = 17
    assert scheduler.retire(group, a) == Move(source=2, target=0, length=17)
    assert scheduler.running == [c, b]
    assert scheduler.retire(group, b) is None
    assert scheduler.retire(group, c) is None
    assert not scheduler.busy
    assert (scheduler.reserved_rows, scheduler.reserved_tokens) == (0, 0)


def test_a_request_that_ends_before_its_sequences_joined_gives_back_what_it_held() -> None:
    scheduler = new_scheduler()
    group, other = new_group(), new_group()
    add(scheduler, other, group)
    scheduler.admit()
    start(scheduler, other)
    scheduler.leave_staging(group)
    assert scheduler.retire(group, group.sequences[0]) is None
    assert scheduler.running == other.sequences
    assert (scheduler.reserved_rows, scheduler.reserved_tokens) == (1, 12)


def test_it_is_busy_in_every_stage_of_a_request() -> None:
    scheduler, group = new_scheduler(), new_group()
    stages = [scheduler.busy]
    add(scheduler, group)
    stages.append(scheduler.busy)
    scheduler.admit()
    stages.append(scheduler.busy)
    start(scheduler, group)
    stages.append(scheduler.busy)
    scheduler.retire(group, group.sequences[0])
    assert [*stages, scheduler.busy] == [False, True, True, True, False]


def test_every_request_is_named_once_and_the_oldest_first() -> None:
    scheduler = new_scheduler(staging=1)
    groups = [new_group(choices=2), new_group(), new_group()]
    add(scheduler, *groups)
    scheduler.admit()
    start(scheduler, groups[0])
    scheduler.admit()
    assert scheduler.groups() == groups


def test_a_request_is_closed_once() -> None:
    group = new_group()
    error = OverloadedError("full", retry_after_s=1)
    group.close(error)
    ended = group.timeline.ended
    group.close()
    assert (group.telemetry.finished, group.timeline.ended) == ({"error": 1}, ended)
    assert group.mailbox.error is error
