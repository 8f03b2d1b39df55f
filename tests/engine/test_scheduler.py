import pytest

from generation.engine.group import Group
from generation.engine.scheduler import Limits, Move, Scheduler
from generation.engine.stream import Bell, Mailbox
from generation.errors import OverloadedError, TooLargeError
from tests.support.fakes import mailbox, request
from tests.support.steps import make_group


def _scheduler(rows: int = 4, staging: int = 2, tokens: int = 1000, chunk: int = 32, **limits: int) -> Scheduler:
    return Scheduler(Limits(rows=rows, staging=staging, tokens=tokens, chunk=chunk, **limits))


def _group(prompt: int = 4, choices: int = 1, max_tokens: int = 8) -> Group:
    asked = request("x" * prompt, max_tokens, choices=choices)
    return make_group(asked, mailbox(), deadline=1e9)


def _list(prompts: int, prompt: int = 4, choices: int = 1, max_tokens: int = 8) -> list[Group]:
    """The prompts of one request."""
    asked, box = request("x" * prompt, max_tokens, choices=choices), Mailbox(Bell(), requests=prompts)
    return [make_group(asked, box, deadline=1e9) for _ in range(prompts)]


def _add(scheduler: Scheduler, *groups: Group) -> None:
    for group in groups:
        scheduler.check([group.request])
        scheduler.add([group], retry_after_s=7)


def _start(scheduler: Scheduler, group: Group) -> None:
    for sequence in group.sequences:
        scheduler.join(group, sequence)
    scheduler.leave_staging(group)


def test_requests_are_admitted_in_the_order_they_came() -> None:
    scheduler = _scheduler(staging=2)
    groups = [_group() for _ in range(3)]
    _add(scheduler, *groups)
    scheduler.admit()
    assert list(scheduler.prefilling) == groups[:2]
    assert [group.staging for group in groups[:2]] == [4, 5]
    scheduler.leave_staging(groups[0])
    scheduler.admit()
    assert list(scheduler.prefilling) == groups[1:]
    assert groups[2].staging == 4


def test_every_choice_takes_a_row() -> None:
    scheduler = _scheduler(rows=4)
    groups = [_group(choices=3), _group(choices=2), _group(choices=1)]
    _add(scheduler, *groups)
    scheduler.admit()
    assert list(scheduler.prefilling) == groups[:1], "a later request may not overtake the one that does not fit"


@pytest.mark.parametrize(("first", "second", "admitted"), [(2, 2, 2), (1, 4, 1), (2, 3, 1), (3, 2, 1), (3, 3, 1)])
def test_rows_bound_admission(first: int, second: int, admitted: int) -> None:
    scheduler = _scheduler(rows=4)
    _add(scheduler, _group(choices=first), _group(choices=second))
    scheduler.admit()
    assert len(scheduler.prefilling) == admitted


def test_cache_tokens_bound_admission_and_come_back() -> None:
    scheduler = _scheduler(tokens=40)
    first, second = _group(4, 1, 8), _group(4, 1, 24)  # 4 + (4 + 8) = 16 and 4 + (4 + 24) = 32
    _add(scheduler, first, second)
    scheduler.admit()
    assert list(scheduler.prefilling) == [first]
    _start(scheduler, first)
    scheduler.admit()
    assert not scheduler.prefilling
    scheduler.retire(first, first.sequences[0])
    scheduler.admit()
    assert list(scheduler.prefilling) == [second]
    assert scheduler.reserved_tokens == 32


@pytest.mark.parametrize(("tokens", "admitted"), [(31, 1), (32, 2)])
def test_what_is_reserved_and_what_is_asked_for_add_up(tokens: int, admitted: int) -> None:
    scheduler = _scheduler(tokens=tokens)
    _add(scheduler, _group(4, 1, 8), _group(4, 1, 8))  # 16 each
    scheduler.admit()
    assert len(scheduler.prefilling) == admitted


def test_a_staged_token_counts_as_what_it_takes() -> None:
    scheduler = _scheduler(tokens=100, staged_cost=3)
    group = _group(4, 2, 8)
    assert scheduler.cost(group.request) == 3 * 4 + 2 * (4 + 8)
    _add(scheduler, group)
    scheduler.admit()
    assert (scheduler.reserved_rows, scheduler.reserved_tokens) == (2, 36)
    _start(scheduler, group)
    assert (scheduler.reserved_rows, scheduler.reserved_tokens) == (2, 24)
    scheduler.retire(group, group.sequences[0])
    assert (scheduler.reserved_rows, scheduler.reserved_tokens) == (1, 12)


def test_staging_rows_come_after_the_batchs() -> None:
    scheduler = _scheduler(rows=3, staging=2)
    groups = [_group(), _group()]
    _add(scheduler, *groups)
    scheduler.admit()
    assert [group.staging for group in groups] == [3, 4]


def test_a_request_for_the_whole_batch_and_the_whole_cache_is_let_pass() -> None:
    scheduler = _scheduler(rows=4, tokens=34, waiting=2)
    whole = _group(prompt=2, choices=4, max_tokens=6).request
    scheduler.check([whole] * 6)


def test_what_never_fits_is_refused_at_once() -> None:
    scheduler = _scheduler(rows=4, tokens=40)
    with pytest.raises(TooLargeError, match="5 sequences are more than the 4 that can run at once"):
        _add(scheduler, _group(choices=5))
    with pytest.raises(TooLargeError, match="may need 48 tokens of cache, and there are 40"):
        _add(scheduler, _group(prompt=4, choices=1, max_tokens=40))
    _add(scheduler, _group(prompt=4, choices=1, max_tokens=32))


def test_a_full_queue_refuses_with_the_time_to_wait() -> None:
    scheduler = _scheduler(waiting=2)
    _add(scheduler, _group(), _group())
    with pytest.raises(OverloadedError) as caught:
        _add(scheduler, _group())
    assert caught.value.headers() == {"Retry-After": "7"}


def test_waiting_prompt_tokens_are_bounded_and_one_request_counts_as_half_at_most() -> None:
    scheduler = _scheduler(waiting_tokens=10)
    _add(scheduler, _group(prompt=20))
    _add(scheduler, _group(prompt=5))
    with pytest.raises(OverloadedError):
        _add(scheduler, _group(prompt=1))
    scheduler.admit()
    _add(scheduler, _group(prompt=5), _group(prompt=5))


@pytest.mark.parametrize(("prompts", "fits"), [((3, 3, 4), True), ((3, 3, 5), False), ((9, 3, 2), True)])
def test_waiting_prompt_tokens_add_up(prompts: tuple[int, ...], *, fits: bool) -> None:
    scheduler = _scheduler(waiting_tokens=10)
    *first, last = [_group(prompt=one) for one in prompts]
    _add(scheduler, *first)
    if fits:
        _add(scheduler, last)
    else:
        with pytest.raises(OverloadedError):
            _add(scheduler, last)
    assert scheduler.waiting_tokens == sum(prompts) - (0 if fits else prompts[-1])


def test_a_request_waits_as_one_whatever_the_number_of_its_prompts() -> None:
    scheduler = _scheduler(waiting=2)
    scheduler.add(_list(20), retry_after_s=1)
    scheduler.add(_list(20), retry_after_s=1)
    assert (len(scheduler.waiting), scheduler.waiting_requests) == (40, 2)
    with pytest.raises(OverloadedError):
        _add(scheduler, _group())


def test_long_prompts_take_turns() -> None:
    scheduler = _scheduler(chunk=32, staging=3)
    a, b, c = groups = [_group(prompt=100) for _ in range(3)]
    _add(scheduler, *groups)
    scheduler.admit()
    turns = [list(scheduler.chunks()) for _ in range(5)]
    assert turns == [[a], [b], [c], [a], [b]]


def test_short_prompts_share_a_step() -> None:
    scheduler = _scheduler(chunk=64)
    groups = [_group(prompt=3), _group(prompt=3)]
    _add(scheduler, *groups)
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
    scheduler = _scheduler(chunk=chunk, staging=4)
    groups = [_group(prompt) for prompt in prompts]
    _add(scheduler, *groups)
    scheduler.admit()
    assert list(scheduler.chunks()) == groups[:chosen]
    assert next(scheduler.chunks()) is groups[chosen % len(groups)], "the next step begins where this one ended"


@pytest.mark.parametrize(("prefilled", "chosen"), [(10, 1), (40, 2), (70, 2)])
def test_only_what_is_left_of_a_prompt_counts(prefilled: int, chosen: int) -> None:
    scheduler = _scheduler(chunk=64)
    groups = [_group(prompt=100), _group(prompt=3)]
    _add(scheduler, *groups)
    scheduler.admit()
    groups[0].prefilled = prefilled
    assert list(scheduler.chunks()) == groups[:chosen]


def test_a_row_that_leaves_is_filled_by_the_last() -> None:
    scheduler = _scheduler()
    group = _group(choices=3)
    _add(scheduler, group)
    scheduler.admit()
    _start(scheduler, group)
    a, b, c = group.sequences
    c.length = 17
    assert scheduler.retire(group, a) == Move(source=2, target=0, length=17)
    assert scheduler.running == [c, b]
    assert scheduler.retire(group, b) is None
    assert scheduler.retire(group, c) is None
    assert not scheduler.busy
    assert (scheduler.reserved_rows, scheduler.reserved_tokens) == (0, 0)


def test_a_dropped_request_leaves_nothing_behind() -> None:
    scheduler = _scheduler()
    group = _group()
    _add(scheduler, group)
    assert scheduler.backlog() == (4, 8, 4)
    scheduler.drop(group)
    assert scheduler.backlog() == (0, 0, 4)
    assert not scheduler.busy


def test_a_request_that_ends_before_its_sequences_joined_gives_back_what_it_held() -> None:
    scheduler = _scheduler()
    group, other = _group(), _group()
    _add(scheduler, other, group)
    scheduler.admit()
    _start(scheduler, other)
    scheduler.leave_staging(group)
    assert scheduler.retire(group, group.sequences[0]) is None
    assert scheduler.running == other.sequences
    assert (scheduler.reserved_rows, scheduler.reserved_tokens) == (1, 12)


def test_the_backlog_is_what_waits_and_what_is_reserved() -> None:
    scheduler = _scheduler(staging=1)
    _add(scheduler, _group(prompt=4, choices=2, max_tokens=8), _group(prompt=5, choices=3, max_tokens=7))
    assert scheduler.backlog() == (9, 16 + 21, 4)
    scheduler.admit()
    assert scheduler.backlog() == (5, 21 + 28, 4)


def test_it_is_busy_in_every_stage_of_a_request() -> None:
    scheduler, group = _scheduler(), _group()
    stages = [scheduler.busy]
    _add(scheduler, group)
    stages.append(scheduler.busy)
    scheduler.admit()
    stages.append(scheduler.busy)
    _start(scheduler, group)
    stages.append(scheduler.busy)
    scheduler.retire(group, group.sequences[0])
    assert [*stages, scheduler.busy] == [False, True, True, True, False]


def test_every_request_is_named_once_and_the_oldest_first() -> None:
    scheduler = _scheduler(staging=1)
    groups = [_group(choices=2), _group(), _group()]
    _add(scheduler, *groups)
    scheduler.admit()
    _start(scheduler, groups[0])
    scheduler.admit()
    assert scheduler.groups() == groups


def test_a_request_is_closed_once() -> None:
    group = _group()
    error = OverloadedError("full", retry_after_s=1)
    group.close(error)
    ended = group.timeline.ended
    group.close()
    assert (group.telemetry.finished, group.timeline.ended) == ({"error": 1}, ended)
    assert group.mailbox.error is error


def _finish(scheduler: Scheduler, group: Group) -> None:
    if group in scheduler.prefilling:
        _start(scheduler, group)
    for sequence in group.sequences:
        scheduler.retire(group, sequence)


def _serve(scheduler: Scheduler) -> Group:
    """Admit, and let the prompt that was admitted first end."""
    scheduler.admit()
    first = scheduler.groups()[0]
    _finish(scheduler, first)
    return first


def test_a_request_beside_a_long_list_is_the_next() -> None:
    scheduler = _scheduler(rows=1, staging=1)
    scheduler.add(many := _list(10), retry_after_s=1)
    scheduler.admit()
    _add(scheduler, short := _group())
    assert [_serve(scheduler) for _ in range(3)] == [many[0], short, many[1]]


def test_lists_take_turns_by_what_their_prompts_cost() -> None:
    scheduler = _scheduler(rows=2, staging=1)
    short, long = _list(8, max_tokens=6), _list(8, max_tokens=16)  # 10 and 20 for each prompt
    scheduler.add(long, retry_after_s=1)
    scheduler.add(short, retry_after_s=1)
    served = [_serve(scheduler) for _ in range(9)]
    assert sum(one in short for one in served) == 6


def test_a_list_is_not_starved_by_those_that_come_one_after_the_other() -> None:
    scheduler = _scheduler(rows=1, staging=1)
    scheduler.add(many := _list(10), retry_after_s=1)
    served = []
    for _ in range(12):
        _add(scheduler, _group())
        served.append(_serve(scheduler))
    assert 3 <= sum(one in many for one in served) <= 8


def test_what_is_large_and_next_in_turn_keeps_the_rows_that_get_free() -> None:
    scheduler = _scheduler(rows=4, staging=4)
    running, large = [_group(choices=2), _group(choices=2)], _group(choices=4)
    _add(scheduler, *running, large)
    scheduler.admit()
    _add(scheduler, small := _group())
    _finish(scheduler, running[0])
    scheduler.admit()
    assert small in scheduler.waiting
    _finish(scheduler, running[1])
    scheduler.admit()
    assert large in scheduler.prefilling


def test_a_request_of_which_nothing_runs_may_be_a_guest() -> None:
    scheduler = _scheduler(rows=4, staging=4, tokens=200, guests=1, guest_tokens=20)
    scheduler.add(many := _list(4, choices=4), retry_after_s=1)
    scheduler.admit()
    assert list(scheduler.prefilling) == many[:1], "the second prompt of a request is no guest"
    guest, other = _group(), _group()
    _add(scheduler, guest, other)
    scheduler.admit()
    assert list(scheduler.prefilling) == [many[0], guest]
    assert (guest.staging, scheduler.reserved_rows, scheduler.guest_rows, scheduler.guest_tokens) == (6, 5, 1, 16)
    _finish(scheduler, guest)
    assert (scheduler.reserved_rows, scheduler.guest_rows, scheduler.guest_tokens) == (4, 0, 0)
    scheduler.admit()
    assert other.guest


def test_guests_do_not_take_the_tokens_of_what_waits_for_the_whole_cache() -> None:
    scheduler = _scheduler(rows=4, staging=4, tokens=120, guests=1, guest_tokens=20)
    with pytest.raises(TooLargeError, match="there are 100"):
        _add(scheduler, _group(prompt=4, choices=4, max_tokens=21))
    _add(scheduler, whole := _group(prompt=4, choices=4, max_tokens=20), large := _group(prompt=4, max_tokens=13))
    scheduler.admit()
    assert list(scheduler.prefilling) == [whole]
    assert not large.guest, "21 tokens are more than guests have"


def test_a_list_leaves_a_staging_row_for_others() -> None:
    scheduler = _scheduler(rows=8, staging=3)
    scheduler.add(_list(5), retry_after_s=1)
    scheduler.admit()
    assert len(scheduler.prefilling) == 2
    _add(scheduler, short := _group())
    scheduler.admit()
    assert short in scheduler.prefilling


def test_chunks_go_to_requests_in_turns_not_to_prompts() -> None:
    scheduler = _scheduler(chunk=32, rows=8, staging=5, tokens=5000)
    scheduler.add(many := _list(4, prompt=99), retry_after_s=1)
    scheduler.admit()
    _add(scheduler, other := _group(prompt=99))
    scheduler.admit()
    turns = []
    for _ in range(4):
        (group,) = scheduler.chunks()
        group.prefilled += 32
        turns.append(group)
    assert turns == [many[0], other, many[0], other]


def test_a_list_of_the_queues_length_is_not_refused() -> None:
    scheduler = _scheduler(waiting=1)
    scheduler.check([one.request for one in _list(50)])
    scheduler.add(_list(50), retry_after_s=1)
    assert len(scheduler.waiting) == 50


def test_nothing_is_kept_of_requests_that_ended() -> None:
    scheduler = _scheduler(staging=3)
    scheduler.add(many := _list(3), retry_after_s=1)
    scheduler.drop(many[2])
    scheduler.admit()
    for group in many[:2]:
        _finish(scheduler, group)
    assert list(scheduler._turns) == []
    assert not scheduler.busy
