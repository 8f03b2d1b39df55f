"""Speculation: verify a draft of the tokens that may follow in the step that computes the newest token.

A step computes several tokens of a sequence for little more than the cost of one. The sampler chooses token by token as
always; where it chooses a draft token, the logits after that token are already there. Only tokens that would have been
chosen anyway are accepted, so the answer is the same, byte for byte, sampled or greedy. This needs a graph whose
results for a token do not depend on how many tokens are computed with it: one with an int8 cache.
"""

import time
from collections.abc import Iterator, Sequence

from generation.engine.drafter import SOURCES, Drafter, Experience
from generation.engine.interface import DraftTable

# Draft tokens in a step, for all sequences together: a few sizes, so that each is soon timed.
SIZES = (1, 2, 3, 4, 5, 7, 11, 15, 23, 31)
# How fast the time of a plain step is followed, and the ratio of another size to it. Something else may slow all steps
# down for a while, so that only ratios of steps that come soon after each other say what a size costs.
LEVEL_RATE, RATIO_RATE = 0.3, 0.25
# How fast follows what drafts save, which differs from step to step, and what they cost.
BALANCE_RATE = 0.1
# Steps with drafts between two without, at most: what they cost is measured against those.
LONGEST_SINCE = 24
# What takes longer than this times what was known counts as this long.
MOST_SLOWER = 1.25
# Of so many first steps of a size the median counts: the very first also pays for memory.
FIRST = 3
# What a ratio has above 1 decays by this in each step that is of another size, so that slow steps do not rule it out
# permanently.
FORGETTING = 0.997
# What drafts must promise, as a multiple of the tokens per second without them: less is within the error of the times.
LEAST_GAIN = 1.03
# A token that is less likely than this part of what it costs is not looked up; bounds of what it is compared with.
WORTH, LEAST, MOST = 0.8, 0.05, 0.8
# Most steps that pass without a look at the drafts, where they bring less than it costs.
LONGEST_REST = 15


class _Book:
    """What is known of steps with `rows` sequences: their times, and what drafts bring."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.rest = self._rested = 0
        self._level: float | None = None  # seconds of a step without drafts
        self._ratios = {0: 1.0}  # what a step takes with so many draft tokens, as a multiple of that
        self._first: dict[int, list[float]] = {}
        self._since = 0
        self._saved, self._spent = 0.0, 0.0

    @property
    def wants_plain(self) -> bool:
        """Whether the next step should have no drafts, because the time of such a step is not known or long ago."""
        return self._level is None or self._since >= LONGEST_SINCE

    def saw(self, drafted: int, seconds: float) -> None:
        """Record the time of a step."""
        self._since = self._since + 1 if drafted else 0
        level = self._level
        ratio = self._ratios.get(drafted) if level is not None else None
        if level is None or ratio is None:
            if level is None and drafted:
                return
            first = self._first.setdefault(drafted, [])
            first.append(seconds / (level or 1.0))
            if len(first) == FIRST:
                typical = sorted(self._first.pop(drafted))[FIRST // 2]
                if level is None:
                    self._level = typical
                else:
                    self._ratios[drafted] = self._within(drafted, typical)
            return
        if drafted:
            self._ratios[drafted] = self._within(drafted, _follow(ratio, seconds / level, RATIO_RATE))
        else:
            self._level = _follow(level, seconds, LEVEL_RATE)

    def _within(self, drafted: int, ratio: float) -> float:
        """Return the ratio within what is possible: tokens of steps of their own would cost no more."""
        return max(1.0, min(ratio, 1 + drafted / self.rows))

    @property
    def least(self) -> float:
        """The least chance at which a draft token may be worth its time."""
        costs = [(ratio - 1) * self.rows / drafted for drafted, ratio in self._ratios.items() if drafted]
        return min(MOST, max(LEAST, WORTH * min(costs, default=0.0)))

    def best(self, gains: Sequence[float]) -> tuple[int, float]:
        """Return how many draft tokens to verify, and the seconds that this is expected to save.

        A size never timed counts as the next smaller one, so that it is tried.

        Args:
            gains: the chance of each draft token, the likeliest first.
        """
        ratios, rows = self._ratios, self.rows
        chosen, saved, fastest = 0, 0.0, LEAST_GAIN * rows
        tokens, started, ratio = float(rows), 0, 1.0
        for size in SIZES:
            if size > len(gains):
                break
            tokens += sum(gains[started:size])
            started = size
            ratio = ratios.get(size, ratio)
            if tokens / ratio > fastest:
                fastest = tokens / ratio
                chosen, saved = size, tokens / rows - ratio
            elif size in ratios:
                ratios[size] = 1 + (ratio - 1) * FORGETTING ** (1 + self._rested)
        return chosen, saved * (self._level or 0.0)

    def settle(self, saved: float, spent: float) -> None:
        """Record what a look at the drafts is expected to save and what it took; rest where it does not pay."""
        self._spent = _follow(self._spent, spent, BALANCE_RATE) if self._spent else spent
        self._saved += BALANCE_RATE * (saved - self._saved)
        self._rested = 0 if self._saved >= self._spent else min(2 * self._rested + 1, LONGEST_REST)
        self.rest = self._rested


def _follow(known: float, seen: float, rate: float) -> float:
    return known + rate * (min(seen, MOST_SLOWER * known) - known)


class Speculation:
    """Chooses the drafts that maximise the tokens per second, by measured hit rates and step times.

    Args:
        limit: draft tokens for each sequence at most.
        capacity: tokens that a step can compute.
        table: guesses that hold for every text, if the artifact has them.
    """

    def __init__(self, limit: int, capacity: int, table: DraftTable | None = None) -> None:
        self._limit = limit
        self._capacity = capacity
        self._table = table
        self._shared = Experience()
        self._books: dict[int, _Book] = {}

    def drafter(self, prompt: Sequence[int]) -> Drafter:
        """Return what drafts for a sequence that begins with `prompt`."""
        return Drafter(prompt, self._table, self._shared)

    def plan(self, drafters: Sequence[Drafter], room: Sequence[int]) -> list[list[int]]:
        """Return a draft for each sequence, perhaps empty; `room` is the most tokens that may follow in each."""
        most = self._capacity - len(drafters)
        book = self._book(len(drafters))
        if most <= 0 or book.rest or book.wants_plain:
            book.rest = max(0, book.rest - 1)
            return [[] for _ in drafters]
        began = time.perf_counter()
        limits = [min(self._limit, most, one) for one in room]
        counts, saved = self._choose(
            book, [one.chances(n, book.least) for one, n in zip(drafters, limits, strict=True)], most
        )
        drafts = [one.take(count) for one, count in zip(drafters, counts, strict=True)]
        book.settle(saved, time.perf_counter() - began)
        return drafts

    def saw(self, rows: int, tokens: int, seconds: float) -> None:
        """Record the time of a step that computed `tokens` tokens of `rows` sequences."""
        self._book(rows).saw(tokens - rows, seconds)

    def counted(self) -> Iterator[tuple[str, int, int]]:
        """Yield for each source its draft tokens and how many were accepted, since the previous call."""
        shared = self._shared
        for source in SOURCES:
            drafted, accepted = shared.drafted[source], shared.accepted[source]
            if drafted or accepted:
                shared.drafted[source] = shared.accepted[source] = 0
                yield source, drafted, accepted

    def _book(self, rows: int) -> _Book:
        return self._books.get(rows) or self._books.setdefault(rows, _Book(rows))

    @staticmethod
    def _choose(book: _Book, chances: list[list[float]], most: int) -> tuple[list[int], float]:
        """Return how many draft tokens each sequence gets, and the seconds that they are expected to save."""
        # Within a sequence chances fall, so the likeliest tokens of all are a beginning of each draft.
        ranked = sorted(((chance, row) for row, one in enumerate(chances) for chance in one), reverse=True)[:most]
        total, saved = book.best([chance for chance, _ in ranked])
        counts = [0] * len(chances)
        for _, row in ranked[:total]:
            counts[row] += 1
        return counts, saved
