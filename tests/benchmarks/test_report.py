"""What the benchmark writes of what it measured."""

import json
from typing import Any

from benchmarks.entries import BASELINE
from benchmarks.report import HTTP, SPEED, START, aims, document, table, with_sizes
from generation.config import ROOT


def turn(number: int, label: str, kind: str = "engine", **figures: list[float]) -> dict[str, Any]:
    return {"round": number, "label": label, "kind": kind, "figures": figures, "others": number / 100}


RESULTS: dict[str, Any] = {
    "machine": {"date": "2020-01-01", "cores": "2", "processor": "P", "instructions": "avx2", "python": "3.11"},
    "versions": {"torch": "1.2"},
    "missing": {"llama.cpp q4_0": "not installed"},
    "sizes_mb": {"fp32 checkpoint": 328.0, "ours int8": 82.0},
    "weights_mb": {"int8": 80.0},
    "turns": [
        turn(1, "memory", "machine", bandwidth_gb_s=[24.0]),
        turn(1, "ours int8", stream=[310], first_ms=[50], fresh_s=[0.5]),
        turn(1, BASELINE, stream=[50], first_ms=[200], fresh_s=[3.0]),
        turn(3, BASELINE, "http", http_stream=[40]),
    ],
}


def test_a_table_shows_medians_and_how_many_times_better_they_are() -> None:
    assert table(RESULTS["turns"], SPEED).splitlines()[2:] == [
        "| ours int8 | 310 (6.2x) |  |  |  | 50 (4.0x) |",
        f"| {BASELINE} | 50 |  |  |  | 200 |",
    ]
    assert "0.50 (6.0x)" in table(RESULTS["turns"], START)


def test_a_table_leaves_out_engines_without_a_figure() -> None:
    assert table(RESULTS["turns"], HTTP).splitlines()[2:] == [f"| {BASELINE} | 40 |  |  |  |  |"]


def test_aims_show_what_was_reached() -> None:
    text = aims(with_sizes(RESULTS))

    assert f"| fresh process to first token | ours int8: 0.50 s | {BASELINE}: 3.00 s | 6.00x | 6x |" in text
    assert "| on disk | ours int8: 82 MB | fp32 checkpoint: 328 MB | 4.00x |" in text
    assert "4-bit" not in text


def test_the_report_tells_the_circumstances() -> None:
    text = document(json.loads(json.dumps(RESULTS)))

    assert "- llama.cpp q4_0: not installed" in text
    assert "300 tokens/s in int8" in text
    assert "rounds: 2" in text
    assert "torch 1.2" in text
    assert "1 % of these cores' time in the median turn, 3 % in the worst" in text


def test_the_report_says_when_nothing_was_left_out() -> None:
    assert "No engine was left out." in document(RESULTS | {"missing": {}})


def test_the_published_report_is_that_of_the_published_figures() -> None:
    folder = ROOT / "docs" / "benchmarks"
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert (folder / "README.md").read_text(encoding="utf-8") == document(results)
