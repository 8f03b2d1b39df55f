"""Drafts are used only if they pay by measured step times and acceptance rates, for each batch size."""

from collections.abc import Sequence

import pytest

from generation.engine.drafter import Drafter, Experience
from generation.engine.speculation import Speculation
from generation.engine.step_costs import FIRST, LEAST_LOOKS, LONGEST_REST, LONGEST_SINCE


class Certain:
    """A draft table that guesses the next number, always with the same chance."""

    def __init__(self, chance: float) -> None:
        self.chance = chance
        self.asked = 0

    def guess(self, context: Sequence[int]) -> tuple[int, float]:
        self.asked += 1
        return context[-1] + 1, self.chance


def _plan(speculation: Speculation, drafters: int = 1, room: int = 100, chance: float = 0.9) -> list[int]:
    made = [Drafter([0], Certain(chance), Experience()) for _ in range(drafters)]
    return [len(draft) for draft in speculation.plan(made, [room] * drafters)]


def _timed(
    seconds: dict[int, float], rows: int = 1, limit: int = 15, capacity: int = 16, table: Certain | None = None
) -> Speculation:
    speculation = Speculation(limit, capacity, table)
    for tokens, time in seconds.items():
        for _ in range(FIRST):
            speculation.saw(rows, tokens, time)
    if rows in seconds:
        speculation.saw(rows, rows, seconds[rows])
    return speculation


def _step(speculation: Speculation, drafter: Drafter, *, right: bool) -> int:
    """Plan a step, accept its draft or reject it, and record its time; return the length of the draft."""
    (draft,) = speculation.plan([drafter], [100])
    for token in [*draft, 1_000_000] if right else [1_000_000]:
        drafter.push(token)
    speculation.saw(1, 1 + len(draft), 1.1 if draft else 1.0)
    return len(draft)


def test_nothing_is_drafted_before_a_step_was_timed() -> None:
    assert _plan(_timed({})) == [0]


def test_one_slow_step_among_the_first_of_a_size_does_not_count() -> None:
    speculation = _timed({1: 1.0, 2: 9.0, 3: 9.0}, limit=3)
    for seconds in (9.0, 1.2, 1.1):
        speculation.saw(1, 4, seconds)
    assert _plan(speculation) == [3]


def test_a_slow_machine_changes_no_ratio() -> None:
    speculation = _timed({1: 1.0, 2: 1.2, 3: 1.3})
    for slowness in (3.0, 1.0):
        for _ in range(30):
            speculation.saw(1, 1, slowness)
            speculation.saw(1, 2, 1.2 * slowness)
    assert _plan(speculation, chance=0.3) == [1]


def test_a_draft_that_pays_is_made() -> None:
    assert _plan(_timed({1: 1.0, 4: 1.1, 5: 9.0})) == [3]


def test_a_longer_draft_is_made_where_the_guesses_are_likelier() -> None:
    costs = {1: 1.0, 2: 1.1, 3: 1.3, 4: 1.5, 5: 1.7, 6: 2.0, 8: 2.6, 12: 4.0, 16: 6.0}
    lengths = [_plan(_timed(costs), chance=chance)[0] for chance in (0.05, 0.2, 0.6, 0.95)]
    assert lengths == sorted(set(lengths))
    assert lengths[0] == 0


def test_drafts_that_will_be_rejected_do_not_pay() -> None:
    assert _plan(_timed({1: 1.0, 2: 1.1, 3: 1.2}), chance=0.05) == [0]


def test_times_hold_for_one_batch_size() -> None:
    assert _plan(_timed({1: 1.0, 2: 1.1}, rows=1), drafters=2) == [0, 0]


def test_the_likeliest_tokens_of_all_sequences_are_drafted() -> None:
    speculation = _timed({2: 1.0, 3: 1.1, 4: 1.2, 5: 1.3, 6: 9.0}, rows=2)
    sure, unsure = Drafter([0], Certain(0.95), Experience()), Drafter([0], Certain(0.3), Experience())
    assert [len(draft) for draft in speculation.plan([sure, unsure], [9, 9])] == [3, 0]


def test_one_slow_step_is_forgotten() -> None:
    speculation = _timed({1: 1.0, 2: 3.0}, limit=1)
    assert _plan(speculation) == [0]
    assert any(_plan(speculation) == [1] for _ in range(20_000))


def test_a_step_that_something_else_held_up_counts_little() -> None:
    speculation = _timed({1: 1.0, 2: 1.1}, limit=1)
    speculation.saw(1, 2, 100.0)
    assert _plan(speculation) == [1]


def test_after_a_while_a_step_without_drafts_is_timed_again() -> None:
    speculation = _timed({1: 1.0, 2: 1.1}, limit=1, table=Certain(0.9))
    drafter = speculation.drafter([0])
    lengths = [_step(speculation, drafter, right=True) for _ in range(2 * LONGEST_SINCE + 2)]
    assert lengths == ([1] * LONGEST_SINCE + [0]) * 2


def test_chances_that_promised_too_much_are_trusted_less() -> None:
    speculation = _timed({1: 1.0, 2: 1.5}, limit=1, table=Certain(0.9))
    lengths = [_step(speculation, speculation.drafter([0]), right=False) for _ in range(200)]
    assert lengths[0] == 1
    assert sum(lengths[100:]) < 5


@pytest.mark.parametrize(("seconds", "asked"), [(0.0004, 0), (0.0006, 1)])
def test_the_table_is_used_only_where_its_lookups_take_a_small_part_of_a_step(seconds: float, asked: int) -> None:
    table = Certain(0.9)
    speculation = _timed({1: seconds, 2: 1.1 * seconds}, limit=1, table=table)
    speculation.plan([speculation.drafter([0])], [9])
    assert table.asked == asked


def test_what_saves_hardly_anything_is_not_drafted() -> None:
    assert _plan(_timed({1: 1.0, 2: 1.48}, limit=1), chance=0.5) == [0]
    assert _plan(_timed({1: 1.0, 2: 1.42}, limit=1), chance=0.5) == [1]


def test_a_draft_fits_the_step_and_the_room_that_is_left() -> None:
    assert sum(_plan(_timed({4: 1.0}, rows=4), drafters=4)) == 11, "the largest size within 12"
    assert _plan(_timed({16: 1.0}, rows=16), drafters=16) == [0] * 16
    assert _plan(_timed({1: 1.0}), room=2) == [2]
    assert _plan(_timed({1: 1.0}), room=0) == [0]
    assert _plan(_timed({1: 1.0}, limit=3)) == [3]


def test_a_full_batch_looks_nothing_up() -> None:
    speculation, table = _timed({16: 1.0}, rows=16), Certain(0.9)
    speculation.plan([Drafter([0], table, Experience()) for _ in range(16)], [9] * 16)
    assert table.asked == 0


def test_where_drafts_do_not_pay_they_are_seldom_looked_up() -> None:
    speculation, table = _timed({1: 1.0, 2: 2.0}, limit=1), Certain(0.05)
    drafter = Drafter([0], table, Experience())
    for token in range(1000):
        speculation.plan([drafter], [9])
        drafter.push(-token)
    assert LEAST_LOOKS < table.asked < 1000 // (LONGEST_REST + 1) + 2 * LEAST_LOOKS


def test_drafts_that_pay_again_end_the_rest() -> None:
    speculation, table = _timed({1: 1.0, 2: 1.5}, limit=1), Certain(0.05)
    for _ in range(200):
        speculation.plan([Drafter([0], table, Experience())], [9])
    table.chance = 0.95
    drafted = [len(speculation.plan([Drafter([0], table, Experience())], [9])[0]) for _ in range(LONGEST_REST + 9)]
    assert drafted[-8:] == [1] * 8


def test_what_is_counted_is_counted_once() -> None:
    speculation = Speculation(15, 16, Certain(0.9))
    drafter = speculation.drafter([0])
    drafter.take(len(drafter.chances(2, 0.0)))
    drafter.push(1)
    assert list(speculation.counted()) == [("table", 2, 1)]
    assert list(speculation.counted()) == []
