import pytest

from generation.engine.group import Group
from generation.engine.scheduler import Limits, Move, Scheduler
from generation.errors import OverloadedError, TooLargeError
from tests.support.fakes import mailbox, request
from tests.support.steps import make_group


def _scheduler(rows: int = 4, staging: int = 2, tokens: int = 1000, chunk: int = 32, **limits: int) -> Scheduler:
    return Scheduler(Limits(rows=rows, staging=staging, tokens=tokens, chunk=chunk, **limits))


def _group(prompt: int = 4, choices: int = 1, max_tokens: int = 8) -> Group:
    asked = request("x" * prompt, max_tokens, choices=choices)
    return make_group(asked, mailbox(), deadline=1e9)


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


def test_waiting_prompt_tokens_are_bounded_but_one_request_may_always_wait() -> None:
    scheduler = _scheduler(waiting_tokens=10)
    _add(scheduler, _group(prompt=20))
    with pytest.raises(OverloadedError):
        _add(scheduler, _group(prompt=1))
    scheduler.admit()
    _add(scheduler, _group(prompt=5), _group(prompt=5))


@pytest.mark.parametrize(("first", "second", "fits"), [(5, 5, True), (8, 2, True), (6, 6, False), (7, 4, False)])
def test_waiting_prompt_tokens_add_up(first: int, second: int, *, fits: bool) -> None:
    scheduler = _scheduler(waiting_tokens=10)
    _add(scheduler, _group(prompt=first))
    if fits:
        _add(scheduler, _group(prompt=second))
    else:
        with pytest.raises(OverloadedError):
            _add(scheduler, _group(prompt=second))
    assert scheduler.waiting_tokens == first + (second if fits else 0)


def test_waiting_requests_add_up() -> None:
    scheduler = _scheduler(waiting=3)
    _add(scheduler, _group())
    with pytest.raises(OverloadedError):
        scheduler.add([_group() for _ in range(3)], retry_after_s=1)
    scheduler.add([_group(), _group()], retry_after_s=1)
    assert len(scheduler.waiting) == 3


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


def test_requests_submitted_together_wait_together_or_not_at_all() -> None:
    scheduler = _scheduler(waiting=2)
    _add(scheduler, _group())
    with pytest.raises(OverloadedError):
        scheduler.add([_group(), _group()], retry_after_s=1)
    assert len(scheduler.waiting) == 1


def test_more_prompts_than_can_run_or_wait_are_refused() -> None:
    scheduler = _scheduler(rows=6, waiting=3)
    scheduler.check([_group().request] * 9)
    with pytest.raises(TooLargeError, match="10 prompts are more than the 9 that can run or wait"):
        scheduler.check([_group().request] * 10)
