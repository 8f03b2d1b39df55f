"""docs/scale.md has the measured and simulated figures."""

import json
from pathlib import Path

import pytest

from benchmarks.scale import report
from benchmarks.scale.__main__ import rounded
from benchmarks.scale.curves import Curves, fit, medians
from benchmarks.scale.points import Point, points

PAGE = report.PAGE.read_text(encoding="utf-8")
MEASURED, SIMULATED = report.read(report.CURVES), report.read(report.SIMULATION)


def test_every_table_is_that_of_the_published_figures() -> None:
    assert report.filled(PAGE, MEASURED, SIMULATED) == PAGE


def test_a_figure_that_changes_changes_the_page() -> None:
    other = json.loads(json.dumps(MEASURED))
    other["points"] = [point | {"tokens_s": 1.1 * point["tokens_s"]} for point in other["points"]]

    assert report.filled(PAGE, other, SIMULATED) != PAGE


def test_the_published_points_are_those_that_a_run_measures() -> None:
    planned = set(points())
    found = {Point(**{name: point[name] for name in Point.__dataclass_fields__}) for point in MEASURED["points"]}

    assert found <= planned
    assert f"| {len(found)} of {len(planned)} |" in PAGE


def test_the_simulation_was_fed_with_the_published_curves() -> None:
    curves = fit(medians(MEASURED["points"]))

    assert Curves(**SIMULATED["curves"]).request(16, 64) == pytest.approx(curves.request(16, 64), rel=0.01)


@pytest.mark.parametrize("name", report.PICTURES)
def test_it_shows_every_picture(name: str) -> None:
    assert f"(scale/{name})" in PAGE
    assert (report.FOLDER / name).stat().st_size < 200_000


def test_a_table_without_rows_says_so() -> None:
    assert report.table(("a", "b"), []).splitlines()[-1] == "| not measured |  |"


def test_where_a_plan_ends_follows_from_the_rule() -> None:
    curves = Curves(0.0, 0.01, 0.0, 0.0, ((1, 0.01), (16, 0.016)), 0.0)

    # 10 ms for the prompt, and 63 steps of which a request takes 1 ms each.
    assert f"| Container Apps | 1,000 replicas | {1000 * 0.6 / 0.073:,.0f} |" in report.ends(curves)


def test_five_digits_are_published() -> None:
    assert rounded({"a": [1.23456789, 2, "b"], "c": 123456.7}) == {"a": [1.2346, 2, "b"], "c": 123460.0}


def test_the_published_files_are_small() -> None:
    assert all(path.stat().st_size < 200_000 for path in Path(report.FOLDER).iterdir())
