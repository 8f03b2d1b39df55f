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
# Labels of our own begin with it; every other engine is a peer.
OURS = "ours"
# Parts of the labels of engines with 4-bit weights, which read half as much for a token, with less fidelity.
FOUR_BITS = ("int4", "q4")


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


def has_four_bits(label: str) -> bool:
    """Return whether an engine has 4-bit weights."""
    return any(part in label for part in FOUR_BITS)


def fastest_peer(turns: Sequence[TurnLike], figure: str, *, four_bits: bool = False) -> str | None:
    """Return the peer with the best median of a figure in this run; None where no peer was measured.

    Without `four_bits`, peers with 4-bit weights do not count.
    """
    measured: dict[str, None] = dict.fromkeys(turn["label"] for turn in turns)  # in the order of the run
    labels = [one for one in measured if not one.startswith(OURS) and (four_bits or not has_four_bits(one))]
    found = {label: median_ for label in labels if (median_ := value(turns, label, figure)) is not None}
    sign = -1 if figure in COSTS else 1
    return max(found, key=lambda label: sign * found[label], default=None)


def percentile(values: Iterable[float], part: float) -> float:
    """Return the value below which `part` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


@dataclass(frozen=True, slots=True)
class Aim:
    """A row of the comparison.

    Attributes:
        work: name of the row.
        figure: name of the figure.
        ours: label of this project's engine.
        at_least: ratio to reach; None for information only.
        theirs: label of the peer; None for the fastest peer of the run, which has 4-bit weights only if ours has.
    """

    work: str
    figure: str
    ours: str
    at_least: float | None = None
    theirs: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """An aim, the peer that it was compared with, both medians, and their ratio."""

    aim: Aim
    against: str
    ours: float
    theirs: float
    ratio: float


def outcome(turns: Sequence[TurnLike], aim: Aim) -> Outcome | None:
    """Compare this project with the peer of an aim; return None if they were not measured in the same round."""
    against = aim.theirs or fastest_peer(turns, aim.figure, four_bits=has_four_bits(aim.ours))
    if against is None:
        return None
    ours, theirs = value(turns, aim.ours, aim.figure), value(turns, against, aim.figure)
    times = ratio(turns, aim.figure, aim.ours, against)
    if ours is None or theirs is None or times is None:
        return None
    return Outcome(aim, against, ours, theirs, times)
