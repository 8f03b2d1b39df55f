"""Fit curves to points: points computed from known curves must give these curves again."""

from typing import Any

import pytest

from benchmarks.scale.curves import FIGURES, Curves, checks, fit, medians
from benchmarks.scale.points import MIXES, Point, points

TRUE = Curves(0.004, 0.0028, 0.0002, 1e-7, tuple((rows, 0.0025 + 0.0003 * rows) for rows in (1, 2, 4, 8, 16)), 2e-7)


def measured(point: Point, round_: int = 1, **figures: float) -> dict[str, Any]:
    return dict.fromkeys((*FIGURES, "gap_mean_ms"), 0.0) | point.key() | {"round": round_} | figures


def made_up(curves: Curves) -> list[dict[str, Any]]:
    """Return the points that a server with these curves would have."""
    found = []
    for point in points():
        gap_s = 0.0
        first_s = curves.http_s + sum(curves.chunks(point.prompt))
        if point.kind == "clients" and point.clients <= 16:
            whole_s = first_s + (point.new - 1) * curves.step(point.clients, point.prompt + point.new / 2)
            tokens_s = point.clients * point.new / whole_s
        elif point.kind == "prompts":
            steps_s = (point.new - 1) * curves.step(point.clients, point.prompt + point.new / 2)
            whole_s = curves.http_s + point.clients * sum(curves.chunks(point.prompt)) + steps_s
            tokens_s = point.clients * point.new / whole_s
            gap_s = curves.step(point.clients, point.prompt + point.new / 2)
        elif point.kind == "mixes":
            tokens_s = 0.9 * curves.tokens_s(point.prompt, point.new)
        else:
            continue
        figures = {"tokens_s": tokens_s, "first_p50_ms": 1000 * first_s, "gap_p50_ms": 1000 * gap_s}
        found.append(measured(point) | figures)
    return found


@pytest.mark.parametrize("cores", [1, 2])
def test_known_curves_are_found_again(cores: int) -> None:
    curves = Curves(TRUE.http_s, TRUE.steps[0][1], TRUE.token_s, TRUE.reach_s, TRUE.steps, TRUE.context_s)
    found = fit(made_up(curves), cores)

    assert found.http_s == pytest.approx(curves.http_s, rel=0.01)
    assert found.token_s == pytest.approx(curves.token_s, rel=0.01)
    assert found.reach_s == pytest.approx(curves.reach_s, rel=0.01)
    assert [seconds for _, seconds in found.steps] == pytest.approx([seconds for _, seconds in curves.steps], rel=0.01)
    assert found.context_s == pytest.approx(curves.context_s, rel=0.02)


def test_one_disturbed_point_does_not_change_what_context_adds() -> None:
    found = made_up(TRUE)
    disturbed = next(one for one in found if (one["kind"], one["prompt"], one["clients"]) == ("prompts", 256, 1))
    disturbed["gap_p50_ms"] *= 3

    assert fit(found).context_s == pytest.approx(TRUE.context_s, rel=0.02)


def test_between_measured_rows_a_step_is_interpolated() -> None:
    assert TRUE.step(6, 48) == pytest.approx(0.0025 + 0.0003 * 6)


def test_a_longer_context_makes_a_step_longer_for_each_row() -> None:
    assert TRUE.step(4, 1048) - TRUE.step(4, 48) == pytest.approx(4 * 1000 * 2e-7)


def test_a_prompt_is_computed_in_chunks() -> None:
    assert TRUE.chunks(300) == pytest.approx(
        [0.0028 + 0.0256, 0.0028 + 0.0256 + 1e-7 * 128 * 128, 0.0028 + 0.0088 + 1e-7 * 44 * 256]
    )


def test_a_request_with_a_short_prompt_takes_its_share_of_a_full_batch() -> None:
    assert TRUE.request(16, 65) == pytest.approx(0.0028 + 0.0032 + 4 * TRUE.step(16, 48.5))


def test_a_request_with_a_long_prompt_takes_a_step_for_each_chunk() -> None:
    # Seven chunks and 28 new tokens: four requests share each step.
    chunks = sum(TRUE.chunks(896))

    assert TRUE.request(896, 29) == pytest.approx(chunks + 7 * TRUE.step(4, 896 + 14.5))


def test_the_rule_is_held_against_what_it_was_not_derived_from() -> None:
    found = checks(made_up(TRUE), TRUE)

    assert [(one.prompt, one.new) for one in found] == list(MIXES)
    assert [one.error for one in found] == pytest.approx([1 / 0.9 - 1] * len(MIXES))


def test_rounds_count_with_their_median() -> None:
    point = Point("rows", 4)
    found = medians([measured(point, round_, memory_mib=value) for round_, value in enumerate((100, 300, 200), 1)])

    assert [(one["memory_mib"], one["rounds"]) for one in found] == [(200, 3)]
