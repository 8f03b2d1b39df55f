"""Medians and ratios, on turns made up by hand."""

from typing import Any

import pytest

from benchmarks.figures import Aim, by_round, fastest_peer, outcome, ratio, value


def turn(number: int, label: str, **figures: list[float]) -> dict[str, Any]:
    return {"round": number, "label": label, "kind": "engine", "figures": figures, "others": 0.0}


TURNS = [
    turn(1, "ours", stream=[300, 330, 310], first_ms=[50]),
    turn(1, "theirs", stream=[100], first_ms=[200]),
    turn(2, "ours", stream=[100], first_ms=[100]),
    turn(2, "theirs", stream=[50], first_ms=[300]),
    turn(3, "ours", stream=[900]),
    turn(3, "other", stream=[600]),
]


def test_a_round_counts_with_its_median() -> None:
    assert by_round(TURNS, "ours", "stream") == {1: 310, 2: 100, 3: 900}


def test_the_value_is_the_median_of_the_rounds() -> None:
    assert value(TURNS, "ours", "stream") == 310


def test_what_was_not_measured_has_no_value() -> None:
    assert value(TURNS, "other", "first_ms") is None
    assert ratio(TURNS, "first_ms", "ours", "other") is None


def test_a_ratio_is_taken_within_rounds_that_both_were_in() -> None:
    # 3.1 in the first round, 2 in the second; the third had no "theirs".
    assert ratio(TURNS, "stream", "ours", "theirs") == pytest.approx(2.55)


def test_of_a_cost_less_is_better() -> None:
    # 4 in the first round, 3 in the second.
    assert ratio(TURNS, "first_ms", "ours", "theirs") == pytest.approx(3.5)


def test_the_fastest_peer_is_the_one_with_the_best_median() -> None:
    assert fastest_peer(TURNS, "stream") == "other"
    assert fastest_peer([*TURNS, turn(4, "late", stream=[700])], "stream") == "late"


def test_of_a_cost_the_fastest_peer_is_the_one_with_the_least() -> None:
    assert fastest_peer([*TURNS, turn(1, "other", first_ms=[180])], "first_ms") == "other"


def test_ours_is_never_its_own_peer() -> None:
    turns = [turn(1, "ours", stream=[300]), turn(1, "ours int4", stream=[500]), turn(1, "theirs", stream=[100])]

    assert fastest_peer(turns, "stream") == "theirs"
    assert fastest_peer(turns[:2], "stream") is None


def test_a_peer_with_4_bit_weights_counts_only_where_ours_has_them() -> None:
    turns = [*TURNS, turn(3, "ours int4", stream=[800]), turn(3, "llama.cpp q4_0", stream=[1600])]
    whole, four_bits = (outcome(turns, Aim("work", "stream", label)) for label in ("ours", "ours int4"))

    assert whole is not None
    assert four_bits is not None
    assert (whole.against, four_bits.against, four_bits.ratio) == ("other", "llama.cpp q4_0", 0.5)


def test_an_aim_is_measured_against_the_fastest_peer() -> None:
    found = outcome(TURNS, Aim("work", "stream", "ours", 2))

    assert found is not None
    assert (found.against, found.ours, found.theirs, found.ratio) == ("other", 310, 600, 1.5)


def test_an_aim_may_name_its_peer() -> None:
    found = outcome(TURNS, Aim("work", "stream", "ours", 2, "theirs"))

    assert found is not None
    assert (found.against, found.theirs) == ("theirs", 75)


def test_an_aim_without_a_measurement_has_no_outcome() -> None:
    assert outcome(TURNS, Aim("work", "stream", "absent")) is None
    assert outcome(TURNS, Aim("work", "batch", "ours")) is None
