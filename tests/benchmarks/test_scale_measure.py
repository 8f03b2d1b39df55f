"""Points are measured on a real server, written down one by one, and not measured twice."""

import math
import time

import pytest

from benchmarks.scale import measure
from benchmarks.scale.points import CLIENTS, Point, points
from generation.config import ROOT

MODEL = ROOT / "models" / "demo"
QUIET = math.inf
CLOSED, OPEN = Point("clients", 2, prompt=4, new=3), Point("open", 0, prompt=4, new=3, rate=20.0)


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
def test_a_disturbed_point_is_left_for_the_next_run() -> None:
    results = measure.fresh()

    assert not measure.run(results, MODEL, plan(noise=-1), lambda: None)
    assert results["points"] == []


def test_a_client_sends_several_requests_but_a_crowd_only_two() -> None:
    assert [Point("clients", clients).requests for clients in (1, 16, 256)] == [12, 4, 2]


def test_every_curve_has_its_points() -> None:
    found = list(points())

    assert {point.kind for point in found} == {"clients", "prompts", "rows", "mixes", "open"}
    assert [point.clients for point in found if point.kind == "clients" and point.cores == 1] == list(CLIENTS)
    assert len(set(found)) == len(found)
