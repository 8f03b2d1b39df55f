"""Compute medians and ratios of the measurements of a run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

TurnLike = Mapping[str, Any]
# Figures of which less is better.
COSTS = frozenset({
    "first_ms", "import_s", "load_s", "token_s", "fresh_s", "peak_mib", "http_fresh_s", "memory_16_mib", "disk_mb",
})  # fmt: skip


def by_round(turns: Iterable[TurnLike], label: str, figure: str) -> dict[int, float]:
    """Return an engine's median of a figure in each round."""
    found: dict[int, list[float]] = {}
    for turn in turns:
        if turn["label"] == label and turn["figures"].get(figure):
            found.setdefault(turn["round"], []).extend(turn["figures"][figure])
    return {number: median(values) for number, values in found.items()}


def value(turns: Iterable[TurnLike], label: str, figure: str) -> float | None:
    """Return the median of an engine's medians by round; None if there is no measurement."""
    found = by_round(turns, label, figure)
    return median(found.values()) if found else None


def ratio(turns: Sequence[TurnLike], figure: str, ours: str, theirs: str) -> float | None:
    """Return how many times better `ours` is than `theirs`: the median ratio of the rounds that measured both.

    Both run within a short time in a round, under similar load, so this varies less than the ratio of medians.
    """
    first, second = by_round(turns, ours, figure), by_round(turns, theirs, figure)
    ratios = [_times(figure, first[number], second[number]) for number in first.keys() & second.keys()]
    return median(ratios) if ratios else None


def _times(figure: str, ours: float, theirs: float) -> float:
    return theirs / ours if figure in COSTS else ours / theirs


@dataclass(frozen=True, slots=True)
class Aim:
    """A ratio that this project should reach against a peer, or the best of several; None for information only."""

    work: str
    figure: str
    ours: str
    theirs: tuple[str, ...]
    at_least: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """An aim, the peer that it was compared with, both medians, and their ratio."""

    aim: Aim
    against: str
    ours: float
    theirs: float
    ratio: float


def outcome(turns: Sequence[TurnLike], aim: Aim) -> Outcome | None:
    """Compare this project with the best peer of an aim; return None if there is no measurement."""
    ours = value(turns, aim.ours, aim.figure)
    found = []
    for label in aim.theirs:
        theirs, times = value(turns, label, aim.figure), ratio(turns, aim.figure, aim.ours, label)
        if ours is not None and theirs is not None and times is not None:
            found.append(Outcome(aim, label, ours, theirs, times))
    return min(found, key=lambda one: one.ratio, default=None)
