"""The queue of the scheduler: refused requests, waiting requests, and the backlog."""

import pytest

from generation.errors import OverloadedError, TooLargeError
from tests.support.scheduling import add, new_group, new_list, new_scheduler


def test_a_request_for_the_whole_batch_and_the_whole_cache_is_let_pass() -> None:
    scheduler = new_scheduler(rows=4, tokens=34, waiting=2)
    whole = new_group(prompt=2, choices=4, max_tokens=6).request
    scheduler.check([whole] * 6)


def test_what_never_fits_is_refused_at_once() -> None:
    scheduler = new_scheduler(rows=4, tokens=40)
    with pytest.raises(TooLargeError, match="5 sequences are more than the 4 that can run at once"):
        add(scheduler, new_group(choices=5))
    with pytest.raises(TooLargeError, match="may need 48 tokens of cache, and there are 40"):
        add(scheduler, new_group(prompt=4, choices=1, max_tokens=40))
    add(scheduler, new_group(prompt=4, choices=1, max_tokens=32))


def test_a_full_queue_refuses_with_the_time_to_wait() -> None:
    scheduler = new_scheduler(waiting=2)
    add(scheduler, new_group(), new_group())
    with pytest.raises(OverloadedError) as caught:
        add(scheduler, new_group())
    assert caught.value.headers() == {"Retry-After": "7"}


def test_waiting_prompt_tokens_are_bounded_and_one_request_counts_as_half_at_most() -> None:
    scheduler = new_scheduler(waiting_tokens=10)
    add(scheduler, new_group(prompt=20))
    add(scheduler, new_group(prompt=5))
    with pytest.raises(OverloadedError):
        add(scheduler, new_group(prompt=1))
    scheduler.admit()
    add(scheduler, new_group(prompt=5), new_group(prompt=5))


@pytest.mark.parametrize(("prompts", "fits"), [((3, 3, 4), True), ((3, 3, 5), False), ((9, 3, 2), True)])
def test_waiting_prompt_tokens_add_up(prompts: tuple[int, ...], *, fits: bool) -> None:
    scheduler = new_scheduler(waiting_tokens=10)
    *first, last = [new_group(prompt=one) for one in prompts]
    add(scheduler, *first)
    if fits:
        add(scheduler, last)
    else:
        with pytest.raises(OverloadedError):
            add(scheduler, last)
    assert scheduler.waiting_tokens == sum(prompts) - (0 if fits else prompts[-1])


def test_a_request_waits_as_one_whatever_the_number_of_its_prompts() -> None:
    scheduler = new_scheduler(waiting=2)
    scheduler.add(new_list(20), retry_after_s=1)
    scheduler.add(new_list(20), retry_after_s=1)
    assert (len(scheduler.waiting), scheduler.waiting_requests) == (40, 2)
    with pytest.raises(OverloadedError):
        add(scheduler, new_group())


def test_a_dropped_request_leaves_nothing_behind() -> None:
    scheduler = new_scheduler()
    group = new_group()
    add(scheduler, group)
    assert scheduler.backlog() == (4, 8, 4)
    scheduler.drop(group)
    assert scheduler.backlog() == (0, 0, 4)
    assert not scheduler.busy


def test_the_backlog_is_what_waits_and_what_is_reserved() -> None:
    scheduler = new_scheduler(staging=1)
    add(scheduler, new_group(prompt=4, choices=2, max_tokens=8), new_group(prompt=5, choices=3, max_tokens=7))
    assert scheduler.backlog() == (9, 16 + 21, 4)
    scheduler.admit()
    assert scheduler.backlog() == (5, 21 + 28, 4)


def test_a_list_of_the_queues_length_is_not_refused() -> None:
    scheduler = new_scheduler(waiting=1)
    scheduler.check([one.request for one in new_list(50)])
    scheduler.add(new_list(50), retry_after_s=1)
    assert len(scheduler.waiting) == 50
