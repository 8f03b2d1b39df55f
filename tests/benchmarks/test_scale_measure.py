"""Points are measured on a real server, saved one by one, and never measured twice."""

import math
import time
from typing import Any

import pytest

from benchmarks.scale import measure
from benchmarks.scale.points import ONE_CORE, Point, points
from generation.config import ROOT

MODEL = ROOT / "models" / "demo"
QUIET = math.inf
CLOSED, OPEN = Point("clients", 2, prompt=4, new=3), Point("open", 0, prompt=4, new=3, rate=40.0)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "points", lambda: iter((CLOSED, OPEN)))
    monkeypatch.setattr(measure, "SETTLE_S", 0.0)
    monkeypatch.setattr(measure, "OPEN_S", 0.5)


def plan(noise: float = QUIET, until: float = math.inf) -> measure.Plan:
    return measure.Plan(1, noise, until)


@pytest.mark.usefixtures("two")
def test_both_kinds_of_load_are_measured_and_not_again() -> None:
    results, saved = measure.fresh(), list[int]()

    def save() -> None:
        saved.append(len(results["points"]))

    assert measure.run(results, MODEL, plan(), save)
    assert saved == [1, 2]
    closed, opened = results["points"]
    assert (closed["kind"], opened["kind"]) == ("clients", "open")
    for point in (closed, opened):
        assert 0 < point["first_p50_ms"] <= point["first_p99_ms"]
        assert point["tokens_s"] > 0
        assert point["memory_mib"] > 50

    assert measure.run(results, MODEL, plan(until=-math.inf), save)
    assert saved == [1, 2]


@pytest.mark.usefixtures("two")
def test_nothing_begins_after_the_time() -> None:
    results = measure.fresh()

    assert not measure.run(results, MODEL, plan(until=time.monotonic()), lambda: None)
    assert results["points"] == []


@pytest.mark.usefixtures("two")
def test_a_disturbed_point_is_measured_again_by_the_next_run() -> None:
    results = measure.fresh()

    assert not measure.run(results, MODEL, plan(noise=-1), lambda: None)
    first = list(results["points"])
    assert len(first) == 2
    assert not measure.run(results, MODEL, plan(noise=-1), lambda: None)
    assert len(results["points"]) == 2


def test_an_open_loop_is_a_part_of_what_a_full_batch_does() -> None:
    full = Point("clients", 16).key() | {"tokens_s": 1600.0}
    one_core = Point("clients", 16, cores=1).key() | {"tokens_s": 900.0}

    assert measure.full_speed([one_core, full]) == 1600 / 64
    assert measure.full_speed([one_core]) == 1


def test_of_several_attempts_the_quietest_counts() -> None:
    kept: list[dict[str, Any]] = []
    for round_, others, speed in ((1, 0.3, 1.0), (1, 0.1, 2.0), (1, 0.2, 3.0), (2, 0.5, 4.0)):
        measure.keep(kept, CLOSED.key() | {"round": round_, "others": others, "tokens_s": speed})

    assert [(one["round"], one["tokens_s"]) for one in kept] == [(1, 2.0), (2, 4.0)]


def test_a_client_sends_several_requests_but_a_crowd_only_two() -> None:
    assert [Point("clients", clients).requests for clients in (1, 16, 256)] == [6, 4, 2]


def test_every_curve_has_its_points() -> None:
    found = list(points())

    assert {point.kind for point in found} == {"clients", "prompts", "rows", "mixes", "open"}
    assert [point.clients for point in found if point.kind == "clients" and point.cores == 1] == list(ONE_CORE)
    assert len(set(found)) == len(found)
