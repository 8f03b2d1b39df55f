"""Drafts of one sequence: their sources, and their estimated chances."""

from collections.abc import Sequence

import pytest

from generation.engine.drafter import PROMPT, TABLE, Drafter, Experience


class Table:
    """A draft table with given guesses, by the last token of the context."""

    def __init__(self, guesses: dict[int, tuple[int, float]]) -> None:
        self.guesses = guesses
        self.asked: list[list[int]] = []

    def guess(self, context: Sequence[int]) -> tuple[int, float] | None:
        self.asked.append(list(context))
        return self.guesses.get(context[-1]) if context else None


def _drafter(tokens: Sequence[int], table: Table | None = None, shared: Experience | None = None) -> Drafter:
    drafter = Drafter(tokens[:1], table, shared)
    for token in tokens[1:]:
        drafter.chances(1, 0.0)
        drafter.push(token)
    return drafter


def _draft(drafter: Drafter, limit: int) -> list[int]:
    return drafter.take(len(drafter.chances(limit, 0.0)))


def test_a_draft_is_what_followed_before() -> None:
    assert _draft(_drafter([1, 2, 3, 4, 5, 9, 1, 2, 3]), 3) == [4, 5, 9]


def test_the_latest_place_counts() -> None:
    assert _draft(_drafter([1, 2, 3, 4, 0, 1, 2, 3, 5, 0, 1, 2, 3]), 1) == [5]


def test_three_tokens_count_before_two() -> None:
    assert _draft(_drafter([1, 2, 3, 4, 0, 9, 2, 3, 5, 0, 1, 2, 3]), 1) == [4]
    assert _draft(_drafter([1, 2, 3, 4, 0, 9, 2, 3, 5, 0, 8, 2, 3]), 1) == [5]


def test_a_repetition_goes_on_past_its_own_end() -> None:
    assert _draft(_drafter([7, 8, 7, 8, 7]), 5) == [8, 7, 8, 7, 8]


@pytest.mark.parametrize("tokens", [[1], [1, 2], [1, 2, 3, 4]])
def test_what_was_never_seen_is_not_drafted(tokens: list[int]) -> None:
    assert _draft(_drafter(tokens), 4) == []


def test_a_prompt_can_be_looked_up() -> None:
    assert _draft(Drafter([1, 2, 3, 1, 2]), 2) == [3, 1]


def test_the_table_is_asked_where_the_text_has_nothing_with_the_last_four_tokens() -> None:
    table = Table({4: (5, 0.5), 5: (6, 0.5)})
    assert _draft(Drafter([0, 1, 2, 3, 4], table), 3) == [5, 6]
    assert table.asked == [[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]]


@pytest.mark.parametrize(("chance", "token"), [(0.1, 3), (0.95, 9)])
def test_the_likelier_of_two_guesses_is_drafted(chance: float, token: int) -> None:
    table = Table({2: (9, chance)})
    assert _draft(Drafter([1, 2, 3, 1, 2], table), 1) == [token]


def test_a_chance_is_that_of_all_draft_tokens_up_to_it() -> None:
    table = Table({0: (1, 0.5), 1: (2, 0.75), 2: (3, 0.5)})
    assert Drafter([0], table).chances(9, 0.0) == pytest.approx([0.5, 0.375, 0.1875])


def test_the_first_chance_below_the_least_is_the_last() -> None:
    table = Table({0: (1, 0.5), 1: (2, 0.5), 2: (3, 0.5)})
    assert Drafter([0], table).chances(9, 0.3) == pytest.approx([0.5, 0.25])
    assert len(table.asked) == 2


def test_the_chance_of_a_source_follows_what_comes_true() -> None:
    right, wrong = Table({1: (1, 0.5)}), Table({1: (2, 0.5)})
    assert _drafter([1] * 3, right).chances(1, 0.0)[0] > 0.5
    assert _drafter([1] * 3, wrong).chances(1, 0.0)[0] < 0.5
    assert _drafter([1, 2, 3] * 10).chances(1, 0.0)[0] > 0.85
    # The same pairs, each time followed by another token.
    assert _drafter([token for i in range(20) for token in (1, 2, 10 + i)] + [1, 2]).chances(1, 0.0)[0] < 0.2


def test_what_one_sequence_learns_helps_the_next_a_little() -> None:
    shared = Experience()
    _drafter(range(200), Table(dict.fromkeys(range(200), (0, 0.9))), shared)
    assert Drafter([1], Table({1: (2, 0.9)}), shared).chances(1, 0.0)[0] < 0.85


def test_a_draft_that_holds_is_not_looked_up_again() -> None:
    table = Table({0: (1, 0.5), 1: (2, 0.5), 2: (3, 0.5)})
    drafter = Drafter([0], table)
    drafter.chances(3, 0.0)
    drafter.take(1)
    drafter.push(1)
    assert _draft(drafter, 2) == [2, 3]
    assert len(table.asked) == 3


def test_a_draft_that_fails_is_dropped() -> None:
    table = Table({0: (1, 0.5), 1: (2, 0.5), 2: (3, 0.5)})
    drafter = Drafter([0], table)
    drafter.chances(3, 0.0)
    drafter.push(2)
    assert _draft(drafter, 1) == [3]


def test_drafted_and_accepted_tokens_are_counted_by_source() -> None:
    shared = Experience()
    drafter = Drafter([1, 2, 3, 1, 2], Table({2: (9, 0.01), 3: (7, 0.9)}), shared)
    assert _draft(drafter, 2) == [3, 7]
    drafter.push(3)
    drafter.push(8)
    assert shared.drafted == {PROMPT: 1, TABLE: 1}
    assert shared.accepted == {PROMPT: 1, TABLE: 0}


def test_tokens_that_were_not_drafted_are_not_counted() -> None:
    shared = Experience()
    drafter = Drafter([0], Table({0: (1, 0.5), 1: (2, 0.5)}), shared)
    drafter.chances(2, 0.0)
    drafter.take(0)
    drafter.push(1)
    drafter.push(2)
    assert (sum(shared.drafted.values()), sum(shared.accepted.values())) == (0, 0)
