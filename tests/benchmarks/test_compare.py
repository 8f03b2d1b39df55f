"""Rounds and turns, with jobs that measure nothing."""

import math
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks import compare
from benchmarks import entries as entries_module
from benchmarks.compare import SERVERS, Job, Server, jobs, take_turns
from benchmarks.entries import ENTRIES
from benchmarks.turn import EngineError, Plan
from generation.config import ROOT


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
    labels = {"ours int8, speculation", "ours int4"}
    entries = [entry for entry in ENTRIES if entry.label in labels]
    servers = [server for server in SERVERS if server.label in labels]

    def names(workload: str) -> list[tuple[str, str]]:
        return [(job.label, job.kind) for job in jobs(entries, servers, [workload], Plan())]

    memory = ("memory", "machine")
    assert names("stream") == [memory, ("ours int4", "engine")]
    assert names("http_16") == [memory, ("ours int4", "http")]
    assert names("http_repetitive") == [memory, ("ours int8, speculation", "http")]
    assert names("sampled") == [memory, ("ours int8, speculation", "sampled")]


def test_of_sampled_text_only_the_speed_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object) -> tuple[dict[str, list[float]], dict[str, str]]:
        return {"sampled": [9.0], "fresh_s": [1.0], "peak_mib": [2.0]}, {"a": "1"}

    monkeypatch.setattr(compare, "measure", measured)
    entries = [entry for entry in ENTRIES if entry.label == "ours int8"]
    job = jobs(entries, [], ["sampled"], Plan())[-1]

    assert job.run(1) == ({"sampled": [9.0]}, {"a": "1"})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("the server did not start"), "the server did not start"),
        (httpx.ReadError(""), "ReadError"),
    ],
)
def test_a_server_that_fails_is_left_out_with_the_reason(error: Exception, reason: str) -> None:
    def serve(*_: object) -> dict[str, list[float]]:
        raise error

    results = empty()
    todo = jobs([], [Server("vLLM", serve, ["http_16"], "checkpoint")], ["http_16"], Plan())

    assert take_turns(results, todo[1:], 1, math.inf, lambda: None)
    assert results["missing"] == {"vLLM (http)": reason}


def test_what_is_not_installed_is_named_by_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setattr(entries_module, "FOLDER", tmp_path)
    monkeypatch.setattr(entries_module, "_export", lambda _: None)
    monkeypatch.setattr(entries_module, "CHECKPOINT", ROOT / "models" / "demo" / "checkpoint")
    monkeypatch.setattr("sys.argv", ["compare", "--prepare", "--only", "llama.cpp q8_0", "vLLM"])

    assert compare.main() == 0
    said = capsys.readouterr().err
    assert "left out: llama.cpp q8_0 (engine): not installed (make bench-peers)" in said
    assert "left out: vLLM bf16 (http): not installed (make bench-vllm)" in said
