"""Documents about several runs, with invented runs, and the published pages, which must match their results files."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import published
from benchmarks.figures import Aim
from benchmarks.report import FASTEST, document
from generation.config import ROOT


def run(processor: str, date: str, **speeds: float) -> dict[str, Any]:
    """Return a run of one round with the speed of one stream for each engine; ``_`` in its name means a space."""
    turns = [
        {"round": 1, "label": label.replace("_", " "), "kind": "engine", "figures": {"stream": [speed]}, "others": 0.0}
        for label, speed in speeds.items()
    ]
    machine = {
        "processor": processor, "instructions": "avx2", "cores": "2", "python": "3.11", "date": date,
        "version": "0.1.0", "commit": "abc",
    }  # fmt: skip
    return {"machine": machine, "versions": {}, "missing": {}, "sizes_mb": {}, "weights_mb": {}, "turns": turns}


FAST = run("Fast(R) Processor", "2020-01-01", ours_int8=300, first=200, second=100)
SLOW = run("Slow", "2020-01-02", ours_int8=100, first=50, second=125)
RUNS = {"fast": FAST, "slow": SLOW}
STREAM = Aim("one stream", "stream", "ours int8", 1.1)


def test_each_processor_has_its_own_fastest_peer() -> None:
    found = {one.processor: one.outcome for one in published.measured(RUNS, STREAM)}

    assert {name: one.against for name, one in found.items()} == {"Fast": "first", "Slow": "second"}
    assert [one.ratio for one in found.values()] == [1.5, 0.8]


def test_the_worst_ratio_counts() -> None:
    found = published.worst(RUNS, STREAM)

    assert found is not None
    assert (found.processor, found.outcome.ratio) == ("Slow", 0.8)


def test_the_comparison_has_a_column_for_each_processor() -> None:
    assert published.comparison(RUNS, (STREAM,)).splitlines() == [
        "| work | Fast | Slow | worst ratio | aim |",
        "|---|---|---|---:|---:|",
        (
            "| one stream | 300 tokens/s; first 200 tokens/s: 1.50x | 100 tokens/s; second 125 tokens/s: 0.80x "
            "| 0.80x | 1.1x |"
        ),
    ]


def test_a_row_that_one_processor_lacks_says_so() -> None:
    without = FAST | {"turns": []}
    (row,) = published.comparison({"fast": without, "slow": SLOW}, (STREAM,)).splitlines()[2:]

    assert row.startswith("| one stream | not measured | 100 tokens/s;")


def test_the_readme_shows_the_worst_processor_of_each_row() -> None:
    assert published.brief(RUNS).splitlines()[2:] == ["| one stream, tokens/s | 100 | 125, second | 0.80 | Slow |"]


def test_the_newest_run_is_first(tmp_path: Path) -> None:
    for stem, results in RUNS.items():
        (tmp_path / f"{stem}.json").write_text(json.dumps(results), encoding="utf-8")

    assert list(published.read(tmp_path)) == ["slow", "fast"]


def test_only_the_table_below_the_heading_changes() -> None:
    page = "## A\n| a |\n|---|\n\n## B\ntext\n\n| b |\n|---|\n| 1 |\n\n| c |\n"

    assert published.with_table(page, "B", "| d |\n") == "## A\n| a |\n|---|\n\n## B\ntext\n\n| d |\n\n| c |\n"
    with pytest.raises(ValueError, match="no table below"):
        published.with_table(page, "C", "")


@pytest.mark.parametrize(
    ("processor", "instructions", "expected"),
    [
        ("Intel(R) Xeon(R) Processor", "avx2, amx_int8", "intel-xeon-amx"),
        ("AMD EPYC 9V74 80-Core Processor", "avx2", "amd-epyc-9v74-80-core"),
    ],
)
def test_a_processor_names_its_files(processor: str, instructions: str, expected: str) -> None:
    assert published.slug({"processor": processor, "instructions": instructions}) == expected


@pytest.mark.parametrize("stem", published.read())
def test_the_published_page_is_that_of_its_figures(stem: str) -> None:
    page = (published.FOLDER / f"{stem}.md").read_text(encoding="utf-8")
    assert page == document(published.read()[stem], f"{stem}.png")
    assert (published.FOLDER / f"{stem}.png").exists()


def test_the_overview_is_that_of_all_published_figures() -> None:
    assert (published.FOLDER / "README.md").read_text(encoding="utf-8") == published.overview(published.read())


def test_the_sizing_follows_the_published_speed() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    runs = published.read()
    found = published.worst(runs, next(aim for aim in FASTEST if aim.figure == "http_16"))

    assert page == published.sizing(page, runs)
    assert found is not None
    assert f"clients on the same cores: {found.outcome.ours:.0f} tokens/s" in page
    assert f"`r` is about {found.outcome.ours / published.CORES:.0f} " in page
    assert published.sizing(page, {}) == page
