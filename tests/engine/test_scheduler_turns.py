"""The turns of the scheduler: which prompt is prefilled or admitted next, lists of prompts, and guests."""

import pytest

from generation.engine.group import Group
from generation.engine.scheduler import Scheduler
from generation.errors import TooLargeError
from tests.support.scheduling import add, finish, new_group, new_list, new_scheduler


def test_long_prompts_take_turns() -> None:
    scheduler = new_scheduler(chunk=32, staging=3)
    a, b, c = groups = [new_group(prompt=100) for _ in range(3)]
    add(scheduler, *groups)
    scheduler.admit()
    turns = [list(scheduler.chunks()) for _ in range(5)]
    assert turns == [[a], [b], [c], [a], [b]]


def test_short_prompts_share_a_step() -> None:
    scheduler = new_scheduler(chunk=64)
    groups = [new_group(prompt=3), new_group(prompt=3)]
    add(scheduler, *groups)
    scheduler.admit()
    assert list(scheduler.chunks()) == groups


@pytest.mark.parametrize(
    ("chunk", "prompts", "chosen"),
    [
        (64, (32, 32), 2),
        (64, (32, 33), 1),
        (64, (100, 3), 1),  # a chunk of the whole step
        (64, (64, 64), 1),
        (64, (3, 3, 3), 3),
        (64, (30, 30, 30, 30), 2),
    ],
)
def test_a_step_prefills_one_chunks_worth(chunk: int, prompts: tuple[int, ...], chosen: int) -> None:
    scheduler = new_scheduler(chunk=chunk, staging=4)
    groups = [new_group(prompt) for prompt in prompts]
    add(scheduler, *groups)
    scheduler.admit()
    assert list(scheduler.chunks()) == groups[:chosen]
    assert next(scheduler.chunks()) is groups[chosen % len(groups)], "the next step begins where this one ended"


@pytest.mark.parametrize(("prefilled", "chosen"), [(10, 1), (40, 2), (70, 2)])
def test_only_what_is_left_of_a_prompt_counts(prefilled: int, chosen: int) -> None:
    scheduler = new_scheduler(chunk=64)
    groups = [new_group(prompt=100), new_group(prompt=3)]
    add(scheduler, *groups)
    scheduler.admit()
    groups[0].prefilled = prefilled
    assert list(scheduler.chunks()) == groups[:chosen]


def _serve(scheduler: Scheduler) -> Group:
    """Admit, and let the prompt that was admitted first end."""
    scheduler.admit()
    first = scheduler.groups()[0]
    finish(scheduler, first)
    return first


def test_a_request_beside_a_long_list_is_the_next() -> None:
    scheduler = new_scheduler(rows=1, staging=1)
    scheduler.add(many := new_list(10), retry_after_s=1)
    scheduler.admit()
    add(scheduler, short := new_group())
    assert [_serve(scheduler) for _ in range(3)] == [many[0], short, many[1]]


def test_lists_take_turns_by_what_their_prompts_cost() -> None:
    scheduler = new_scheduler(rows=2, staging=1)
    short, long = new_list(8, max_tokens=6), new_list(8, max_tokens=16)  # 10 and 20 for each prompt
    scheduler.add(long, retry_after_s=1)
    scheduler.add(short, retry_after_s=1)
    served = [_serve(scheduler) for _ in range(9)]
    assert sum(one in short for one in served) == 6


def test_a_list_is_not_starved_by_those_that_come_one_after_the_other() -> None:
    scheduler = new_scheduler(rows=1, staging=1)
    scheduler.add(many := new_list(10), retry_after_s=1)
    served = []
    for _ in range(12):
        add(scheduler, new_group())
        served.append(_serve(scheduler))
    assert 3 <= sum(one in many for one in served) <= 8


def test_what_is_large_and_next_in_turn_keeps_the_rows_that_get_free() -> None:
    scheduler = new_scheduler(rows=4, staging=4)
    running, large = [new_group(choices=2), new_group(choices=2)], new_group(choices=4)
    add(scheduler, *running, large)
    scheduler.admit()
    add(scheduler, small := new_group())
    finish(scheduler, running[0])
    scheduler.admit()
    assert small in scheduler.waiting
    finish(scheduler, running[1])
    scheduler.admit()
    assert large in scheduler.prefilling


def test_a_request_of_which_nothing_runs_may_be_a_guest() -> None:
    scheduler = new_scheduler(rows=4, staging=4, tokens=200, guests=1, guest_tokens=20)
    scheduler.add(many := new_list(4, choices=4), retry_after_s=1)
    scheduler.admit()
    assert list(scheduler.prefilling) == many[:1], "the second prompt of a request is no guest"
    guest, other = new_group(), new_group()
    add(scheduler, guest, other)
    scheduler.admit()
    assert list(scheduler.prefilling) == [many[0], guest]
    assert (guest.staging, scheduler.reserved_rows, scheduler.guest_rows, scheduler.guest_tokens) == (6, 5, 1, 16)
    finish(scheduler, guest)
    assert (scheduler.reserved_rows, scheduler.guest_rows, scheduler.guest_tokens) == (4, 0, 0)
    scheduler.admit()
    assert other.guest


def test_guests_do_not_take_the_tokens_of_what_waits_for_the_whole_cache() -> None:
    scheduler = new_scheduler(rows=4, staging=4, tokens=120, guests=1, guest_tokens=20)
    with pytest.raises(TooLargeError, match="there are 100"):
        add(scheduler, new_group(prompt=4, choices=4, max_tokens=21))
    add(scheduler, whole := new_group(prompt=4, choices=4, max_tokens=20), large := new_group(prompt=4, max_tokens=13))
    scheduler.admit()
    assert list(scheduler.prefilling) == [whole]
    assert not large.guest, "21 tokens are more than guests have"


def test_a_list_leaves_a_staging_row_for_others() -> None:
    scheduler = new_scheduler(rows=8, staging=3)
    scheduler.add(new_list(5), retry_after_s=1)
    scheduler.admit()
    assert len(scheduler.prefilling) == 2
    add(scheduler, short := new_group())
    scheduler.admit()
    assert short in scheduler.prefilling


def test_chunks_go_to_requests_in_turns_not_to_prompts() -> None:
    scheduler = new_scheduler(chunk=32, rows=8, staging=5, tokens=5000)
    scheduler.add(many := new_list(4, prompt=99), retry_after_s=1)
    scheduler.admit()
    add(scheduler, other := new_group(prompt=99))
    scheduler.admit()
    turns = []
    for _ in range(4):
        (group,) = scheduler.chunks()
        group.prefilled += 32
        turns.append(group)
    assert turns == [many[0], other, many[0], other]


def test_nothing_is_kept_of_requests_that_ended() -> None:
    scheduler = new_scheduler(staging=3)
    scheduler.add(many := new_list(3), retry_after_s=1)
    scheduler.drop(many[2])
    scheduler.admit()
    for group in many[:2]:
        finish(scheduler, group)
    assert list(scheduler._turns) == []
    assert not scheduler.busy
