"""Fit the times of a decode step, a prompt and a whole request on one machine to the measured points."""

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
    """Return each point once, with the median of each figure over its rounds, in the order of the first round."""
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
    """Return the points of a kind whose fields have the wanted values."""
    return [one for one in points if one["kind"] == kind and all(one[name] == value for name, value in wanted.items())]


@dataclass(frozen=True, slots=True)
class Curves:
    """Times of one instance, in seconds.

    Attributes:
        http_s: time from a request to its prefill, plus the time from its first token to the client.
        run_s: minimum time of a model run.
        token_s: additional time of a run for each prompt token.
        reach_s: additional time of a prompt token for each token before its chunk.
        steps: (rows, seconds) of decode steps with short contexts, by rows.
        context_s: additional time of a step for each row and each token of context.
    """

    http_s: float
    run_s: float
    token_s: float
    reach_s: float
    steps: tuple[tuple[int, float], ...]
    context_s: float

    def chunks(self, prompt: int) -> list[float]:
        """Return the seconds of each chunk of a prompt."""
        return [self.batch(size) + self.reach_s * size * start for start, size in _ranges(prompt)]

    def batch(self, tokens: int) -> float:
        """Return the seconds of a run that computes `tokens` tokens at the start of prompts."""
        return self.run_s + self.token_s * tokens

    def step(self, rows: float, context: float) -> float:
        """Return the seconds of a decode step, interpolated between the measured numbers of rows."""
        short = PROMPT + NEW / 2
        counts, seconds = zip(*self.steps, strict=True)
        base = float(np.interp(rows, counts, seconds))
        return base + self.context_s * rows * (context - short)

    def request(self, prompt: int, new: int, rows: int = ROWS) -> float:
        """Return the instance seconds of a request while other requests always wait: the sizing rule.

        An iteration computes one chunk and one step. A request therefore takes as many steps as it has chunks, or its
        share of the steps of a full batch, if that is more.
        """
        chunks = self.chunks(prompt)
        steps = max(float(len(chunks)), (new - 1) / rows)
        return sum(chunks) + steps * self.step((new - 1) / steps, prompt + new / 2)

    def tokens_s(self, prompt: int, new: int, rows: int = ROWS) -> float:
        """Return the tokens per second of an instance with a full batch."""
        return new / self.request(prompt, new, rows)


def fit(points: Sequence[Measured], cores: int = CORES) -> Curves:
    """Return the curves of an instance with `cores` cores.

    A request takes the time of its first token plus ``new - 1`` steps, so the time of a step follows from the tokens
    per second. Least squares fits the time to the first token of one client at every prompt length with a delay, a time
    per token, and a time per token and token before its chunk. The minimum time of a run is that of a step with one
    row. The time per token of context is the slope of that client's gaps.
    """
    alone = {point["clients"]: point for point in select(points, "clients", cores=cores)}
    steps = tuple((rows, _step_s(alone[rows])) for rows in sorted(alone) if rows <= ROWS)
    run_s = steps[0][1]
    prompts = select(points, "prompts", cores=cores, clients=1)
    parts = [_ranges(one["prompt"]) for one in prompts]
    reaches = [sum(start * size for start, size in of) for of in parts]
    inputs = [[1.0, one["prompt"], reach] for one, reach in zip(prompts, reaches, strict=True)]
    targets = [one["first_p50_ms"] / 1000 - run_s * len(of) for one, of in zip(prompts, parts, strict=True)]
    # Relative errors are minimised, because long prompts would otherwise outweigh short ones.
    scale = 1 / np.array([one["first_p50_ms"] for one in prompts])
    fitted, *_ = np.linalg.lstsq(np.array(inputs) * scale[:, None], np.array(targets) * scale, rcond=None)
    http_s, token_s, reach_s = (max(0.0, float(one)) for one in fitted)
    return Curves(http_s, run_s, token_s, reach_s, steps, _context_s(prompts))


def _ranges(prompt: int) -> list[tuple[int, int]]:
    """Return the start and the length of each chunk of a prompt."""
    return [(start, min(CHUNK, prompt - start)) for start in range(0, prompt, CHUNK)]


def _step_s(point: Measured) -> float:
    """Return the step time, in seconds, when all clients run at once."""
    whole = point["clients"] * point["new"] / point["tokens_s"]
    return float((whole - point["first_p50_ms"] / 1000) / (point["new"] - 1))


def _context_s(prompts: Sequence[Measured]) -> float:
    """Return the time per token of context and row: the slope of one client's gap over its context.

    The slope is the median of the slopes between any two points (Theil 1950), which is robust to outliers.
    """
    slopes = [
        (second["gap_p50_ms"] - first["gap_p50_ms"]) / 1000 / (second["prompt"] - first["prompt"])
        for first, second in combinations(prompts, 2)
    ]
    return max(0.0, float(median(slopes)))


@dataclass(frozen=True, slots=True)
class Check:
    """The predicted and the measured tokens per second of a workload that the rule was not fitted to."""

    prompt: int
    new: int
    rule: float
    measured: float

    @property
    def error(self) -> float:
        """Relative error of the prediction; positive if it is too high."""
        return self.rule / self.measured - 1


def checks(points: Sequence[Measured], curves: Curves) -> list[Check]:
    """Return the predicted and measured throughput of every measured mix."""
    found = {(one["prompt"], one["new"]): one["tokens_s"] for one in select(points, "mixes")}
    return [Check(*mix, curves.tokens_s(*mix), found[mix]) for mix in MIXES if mix in found]
