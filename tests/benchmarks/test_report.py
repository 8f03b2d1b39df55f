"""What the benchmark writes of what it measured."""

import json
from typing import Any

from benchmarks.entries import BASELINE
from benchmarks.report import BASELINES, FASTEST, HTTP, SAMPLED, SPEED, START, aims, document, table, with_sizes


def turn(number: int, label: str, kind: str = "engine", **figures: list[float]) -> dict[str, Any]:
    return {"round": number, "label": label, "kind": kind, "figures": figures, "others": number / 100}


RESULTS: dict[str, Any] = {
    "machine": {
        "date": "2020-01-01",
        "cores": "2",
        "processor": "P",
        "instructions": "avx2",
        "python": "3.11",
        "version": "0.2.0",
        "commit": "abc1234",
    },
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
        "| ours int8 | 310 (6.2x) |  |  |  |  |  | 50 (4.0x) |",
        f"| {BASELINE} | 50 |  |  |  |  |  | 200 |",
    ]
    assert "0.50 (6.0x)" in table(RESULTS["turns"], START)


def test_a_table_leaves_out_engines_without_a_figure() -> None:
    assert table(RESULTS["turns"], HTTP).splitlines()[2:] == [f"| {BASELINE} | 40 |  |  |  |  |  |"]


def test_aims_show_what_was_reached() -> None:
    text = aims(with_sizes(RESULTS), BASELINES)

    assert f"| fresh process to first token | ours int8: 0.50 s | {BASELINE}: 3.00 s | 6.00x | 6x |" in text
    assert "| on disk | ours int8: 82 MB | fp32 checkpoint: 328 MB | 4.00x |" in text
    assert "4-bit" not in text


def test_the_fastest_peer_stands_beside_ours() -> None:
    text = aims([*RESULTS["turns"], turn(1, "llama.cpp q8_0", stream=[400])], FASTEST)

    assert "| one stream | ours int8: 310 tokens/s | llama.cpp q8_0: 400 tokens/s | 0.78x | 1.1x |" in text


def test_over_http_the_baseline_is_called_the_workshop_s_app() -> None:
    turns = [turn(1, "ours int8", "http", http_stream=[80]), turn(1, BASELINE, "http", http_stream=[40])]

    assert "| the workshop's app: 40 tokens/s | 2.00x |" in aims(turns, FASTEST)


def test_sampled_text_has_a_section_where_it_was_measured() -> None:
    sampled = {"turns": [*RESULTS["turns"], turn(1, "ours int8", "sampled", sampled=[900])]}

    assert "Sampled text" not in document(RESULTS, "plot.png")
    assert table(sampled["turns"], SAMPLED) in document(RESULTS | sampled, "plot.png")


def test_the_report_tells_the_circumstances() -> None:
    text = document(json.loads(json.dumps(RESULTS)), "plot.png")

    assert "- llama.cpp q4_0: not installed" in text
    assert "300 tokens/s in int8" in text
    assert "Rounds: 2." in text
    assert "version 0.2.0, commit abc1234" in text
    assert "(plot.png)" in text
    assert "torch 1.2" in text
    assert "1 % of these cores' time in the median measurement, 3 % at most" in text


def test_the_report_says_when_nothing_was_left_out() -> None:
    assert "No engine was left out." in document(RESULTS | {"missing": {}}, "plot.png")
