"""The measured points as functions: what a decode step, a prompt and a whole request take on one machine."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np

from benchmarks.scale.points import CORES, MIXES, NEW, PROMPT, ROWS, Point

# The server's default of PREFILL_CHUNK.
CHUNK = 128
FIGURES = ("tokens_s", "first_p50_ms", "first_p99_ms", "gap_p50_ms", "memory_mib", "others")

Measured = Mapping[str, Any]


def medians(points: Iterable[Measured]) -> list[dict[str, Any]]:
    """Return every point once, with the median of each figure over the rounds, in the order of the first round."""
    found: dict[tuple[Any, ...], list[Measured]] = {}
    for point in points:
        found.setdefault(tuple(point[name] for name in Point.__dataclass_fields__), []).append(point)
    return [
        {name: rounds[0][name] for name in Point.__dataclass_fields__}
        | {name: median(one[name] for one in rounds) for name in FIGURES}
        | {"rounds": len(rounds)}
        for rounds in found.values()
    ]


def select(points: Iterable[Measured], kind: str, **wanted: float) -> list[Measured]:
    """Return the points of a kind that have these values."""
    return [one for one in points if one["kind"] == kind and all(one[name] == value for name, value in wanted.items())]


@dataclass(frozen=True, slots=True)
class Curves:
    """Times of one instance, in seconds.

    Attributes:
        http_s: from a request to its prefill, and from its first token to the client.
        run_s: what a run of the model takes whatever it computes.
        token_s: what a prompt token adds to it.
        reach_s: what a prompt token adds for each token before its chunk.
        steps: (rows, seconds) of decode steps with short contexts, by rows.
        context_s: what a token of context adds to a step, for each row.
    """

    http_s: float
    run_s: float
    token_s: float
    reach_s: float
    steps: tuple[tuple[int, float], ...]
    context_s: float

    def chunks(self, prompt: int) -> list[float]:
        """Return what each chunk of a prompt takes."""
        return [self.batch(size) + self.reach_s * size * start for start, size in _ranges(prompt)]

    def batch(self, tokens: int) -> float:
        """Return what a run takes that computes so many tokens at the beginning of prompts."""
        return self.run_s + self.token_s * tokens

    def step(self, rows: float, context: float) -> float:
        """Return what a decode step takes; between measured rows, and up to the most, it is interpolated."""
        short = PROMPT + NEW / 2
        counts, seconds = zip(*self.steps, strict=True)
        base = float(np.interp(rows, counts, seconds))
        return base + self.context_s * rows * (context - short)

    def request(self, prompt: int, new: int, rows: int = ROWS) -> float:
        """Return the seconds of an instance that a request takes while there is always another: the sizing rule.

        An iteration computes one chunk and a step. So a request takes as many steps as it has chunks, or its part of
        the steps of a full batch, whatever is more; the fewer the steps, the more requests share one.
        """
        chunks = self.chunks(prompt)
        steps = max(float(len(chunks)), (new - 1) / rows)
        return sum(chunks) + steps * self.step((new - 1) / steps, prompt + new / 2)

    def tokens_s(self, prompt: int, new: int, rows: int = ROWS) -> float:
        """Return the tokens a second of an instance whose batch is full."""
        return new / self.request(prompt, new, rows)


def fit(points: Sequence[Measured], cores: int = CORES) -> Curves:
    """Return the curves of an instance with so many cores.

    A client's request takes the time of its first token and ``new - 1`` steps, so a step follows from the tokens a
    second. The prompt's part is fitted to one client's first token at every length, by least squares: a delay, a time
    for each token, and a time for each token and token before its chunk. What a run takes at least is a step of one
    row. What context adds is the slope of that client's gaps.
    """
    alone = {point["clients"]: point for point in select(points, "clients", cores=cores)}
    steps = tuple((rows, _step_s(alone[rows])) for rows in sorted(alone) if rows <= ROWS)
    run_s = steps[0][1]
    prompts = select(points, "prompts", cores=cores, clients=1)
    parts = [_ranges(one["prompt"]) for one in prompts]
    reaches = [sum(start * size for start, size in of) for of in parts]
    inputs = [[1.0, one["prompt"], reach] for one, reach in zip(prompts, reaches, strict=True)]
    targets = [one["first_p50_ms"] / 1000 - run_s * len(of) for one, of in zip(prompts, parts, strict=True)]
    # Relative errors count: a long prompt would outweigh the short ones.
    scale = 1 / np.array([one["first_p50_ms"] for one in prompts])
    fitted, *_ = np.linalg.lstsq(np.array(inputs) * scale[:, None], np.array(targets) * scale, rcond=None)
    http_s, token_s, reach_s = (max(0.0, float(one)) for one in fitted)
    return Curves(http_s, run_s, token_s, reach_s, steps, _context_s(prompts))


def _ranges(prompt: int) -> list[tuple[int, int]]:
    """Return where each chunk of a prompt begins, and its length."""
    return [(start, min(CHUNK, prompt - start)) for start in range(0, prompt, CHUNK)]


def _step_s(point: Measured) -> float:
    """Return the step time of clients that all run at once."""
    whole = point["clients"] * point["new"] / point["tokens_s"]
    return float((whole - point["first_p50_ms"] / 1000) / (point["new"] - 1))


def _context_s(prompts: Sequence[Measured]) -> float:
    """Return what a token of context adds for each row: the slope of one client's gap over its context.

    It is the median of the slopes between any two points (Theil 1950), which one disturbed point does not change.
    """
    slopes = [
        (second["gap_p50_ms"] - first["gap_p50_ms"]) / 1000 / (second["prompt"] - first["prompt"])
        for first, second in combinations(prompts, 2)
    ]
    return max(0.0, float(median(slopes)))


@dataclass(frozen=True, slots=True)
class Check:
    """A workload that the rule was not derived from: what it says, and what was measured, in tokens a second."""

    prompt: int
    new: int
    rule: float
    measured: float

    @property
    def error(self) -> float:
        """By how much the rule is above what was measured."""
        return self.rule / self.measured - 1


def checks(points: Sequence[Measured], curves: Curves) -> list[Check]:
    """Hold the rule against every mix that was measured."""
    found = {(one["prompt"], one["new"]): one["tokens_s"] for one in select(points, "mixes")}
    return [Check(*mix, curves.tokens_s(*mix), found[mix]) for mix in MIXES if mix in found]
