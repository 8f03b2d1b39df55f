"""Drafts by prompt lookup, and whether they pay."""

from collections.abc import Sequence

import pytest

from generation.engine.speculation import Drafter, Speculation


def _drafter(tokens: Sequence[int]) -> Drafter:
    drafter = Drafter(tokens[:1])
    for token in tokens[1:]:
        drafter.push(token)
    return drafter


def test_a_draft_is_what_followed_before() -> None:
    assert _drafter([1, 2, 3, 4, 5, 9, 1, 2, 3]).draft(3) == [4, 5, 9]


def test_the_latest_place_counts() -> None:
    assert _drafter([1, 2, 3, 4, 0, 1, 2, 3, 5, 0, 1, 2, 3]).draft(1) == [5]


def test_three_tokens_count_before_two() -> None:
    assert _drafter([1, 2, 3, 4, 0, 9, 2, 3, 5, 0, 1, 2, 3]).draft(1) == [4]
    assert _drafter([1, 2, 3, 4, 0, 9, 2, 3, 5, 0, 8, 2, 3]).draft(1) == [5]


def test_a_repetition_goes_on_past_its_own_end() -> None:
    assert _drafter([7, 8, 7, 8, 7]).draft(5) == [8, 7, 8, 7, 8]


@pytest.mark.parametrize("tokens", [[1], [1, 2], [1, 2, 3, 4]])
def test_what_was_never_seen_is_not_drafted(tokens: list[int]) -> None:
    assert _drafter(tokens).draft(4) == []


def test_a_prompt_can_be_looked_up() -> None:
    assert Drafter([1, 2, 3, 1, 2]).draft(2) == [3, 1]


def test_hits_follow_what_comes_true() -> None:
    assert _drafter([1, 2, 3] * 10).hits > 0.9
    # The same pairs, each time with another token after them.
    assert _drafter([token for i in range(10) for token in (1, 2, 10 + i)]).hits < 0.2


def _plan(speculation: Speculation, drafters: int = 1, room: int = 100, hits: float = 0.9) -> list[int]:
    made = [_drafter([1, 2, 3] * 4) for _ in range(drafters)]
    for one in made:
        one.hits = hits
    return [len(draft) for draft in speculation.plan(made, [room] * drafters)]


def _timed(seconds: dict[int, float], limit: int = 8, capacity: int = 16) -> Speculation:
    speculation = Speculation(limit, capacity)
    for tokens, time in seconds.items():
        speculation.saw(tokens, time)
    return speculation


def test_nothing_is_drafted_before_a_step_was_timed() -> None:
    assert _plan(_timed({})) == [0]


def test_a_step_never_timed_is_tried() -> None:
    assert _plan(_timed({1: 1.0})) == [8]


def test_a_draft_that_pays_is_made() -> None:
    assert _plan(_timed({1: 1.0, 9: 1.5})) == [8]


def test_a_shorter_draft_is_made_where_a_long_one_does_not_pay() -> None:
    assert _plan(_timed({1: 1.0, 9: 20.0, 5: 1.5})) == [4]


def test_rejected_drafts_do_not_pay() -> None:
    assert _plan(_timed({1: 1.0, 9: 1.5, 5: 1.4, 3: 1.2, 2: 1.1}), hits=0.05) == [0]


def test_one_slow_step_is_forgotten() -> None:
    speculation = _timed({1: 1.0, 2: 100.0}, limit=1)
    assert _plan(speculation) == [0]
    assert any(_plan(speculation) == [1] for _ in range(1000))


def test_a_draft_fits_the_step_and_the_room_that_is_left() -> None:
    assert _plan(_timed({4: 1.0}), drafters=4) == [3, 3, 3, 3]
    assert _plan(_timed({16: 1.0}), drafters=16) == [0] * 16
    assert _plan(_timed({1: 1.0}), room=2) == [2]
    assert _plan(_timed({1: 1.0}), room=0) == [0]
