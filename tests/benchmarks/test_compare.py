"""Rounds and turns, with jobs that measure nothing."""

import math
from typing import Any

from benchmarks.compare import Job, jobs, take_turns
from benchmarks.entries import ENTRIES
from benchmarks.turn import EngineError, Plan


class Recorder:
    """Makes jobs and remembers who had a turn."""

    def __init__(self) -> None:
        self.turns: list[tuple[int, str]] = []
        self.saved = 0

    def job(self, label: str, fails: str = "") -> Job:
        def run(number: int) -> tuple[dict[str, list[float]], dict[str, str]]:
            if fails:
                raise EngineError(fails)
            self.turns.append((number, label))
            return {"stream": [float(number)]}, {label: "1"}

        return Job(label, "engine", run)

    def save(self) -> None:
        self.saved += 1


def empty() -> dict[str, Any]:
    return {"turns": [], "versions": {}, "missing": {}}


def test_rounds_go_back_and_forth() -> None:
    recorder, results = Recorder(), empty()

    assert take_turns(results, [recorder.job("a"), recorder.job("b")], 2, math.inf, recorder.save)
    assert recorder.turns == [(1, "a"), (1, "b"), (2, "b"), (2, "a")]
    assert recorder.saved == 4
    assert results["versions"] == {"a": "1", "b": "1"}
    assert results["turns"][2]["figures"] == {"stream": [2.0]}


def test_what_is_written_down_is_not_measured_again() -> None:
    recorder, results = Recorder(), empty()
    take_turns(results, [recorder.job("a")], 1, math.inf, recorder.save)
    take_turns(results, [recorder.job("a"), recorder.job("b")], 2, math.inf, recorder.save)

    assert recorder.turns == [(1, "a"), (1, "b"), (2, "b"), (2, "a")]


def test_an_engine_that_fails_is_left_out_from_then_on() -> None:
    recorder, results = Recorder(), empty()

    assert take_turns(results, [recorder.job("a", fails="no"), recorder.job("b")], 2, math.inf, recorder.save)
    assert recorder.turns == [(1, "b"), (2, "b")]
    assert results["missing"] == {"a (engine)": "no"}


def test_no_turn_begins_after_the_time() -> None:
    recorder = Recorder()

    assert not take_turns(empty(), [recorder.job("a")], 1, -math.inf, recorder.save)
    assert recorder.turns == []


def test_an_engine_without_a_wanted_workload_gets_no_turn() -> None:
    entries = [entry for entry in ENTRIES if entry.label in {"ours int8, speculation", "ours int4"}]

    assert [job.label for job in jobs(entries, ["stream"], Plan())] == ["memory", "ours int4"]
    assert [(job.label, job.kind) for job in jobs(entries, ["http_16"], Plan())[1:]] == [("ours int4", "http")]
    assert [(job.label, job.kind) for job in jobs(entries, ["http_repetitive"], Plan())[1:]] == [
        ("ours int8, speculation", "http")
    ]
