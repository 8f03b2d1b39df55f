"""Speculation: verify a draft of the tokens that may follow in the step that computes the newest token.

A step computes several tokens of a sequence for little more than the cost of one. It therefore computes the last token
together with a draft of those after it. The sampler then chooses token by token as usual. If it chooses the draft
token, the logits for the next choice are already computed. Only tokens that the sampler chooses anyway are accepted, so
the output is identical with and without speculation, whether sampled or greedy. This requires a graph whose results for
a token do not depend on how many tokens are computed with it: one with an int8 cache.
"""

import time
from collections.abc import Iterator, Sequence

from generation.engine.drafter import SOURCES, Drafter, Experience
from generation.engine.interface import DraftTable

# Numbers of draft tokens in a step, of all sequences together. They are few, so that each is soon timed.
SIZES = (1, 2, 3, 4, 5, 7, 11, 15, 23, 31)
# Rates at which the time of a plain step and the ratio of another size to it follow new measurements. Other work may
# slow all steps for a while, so only ratios of steps that are close in time show what a size costs.
LEVEL_RATE, RATIO_RATE = 0.3, 0.25
# Rate at which the savings of drafts and the cost of lookups follow new measurements.
BALANCE_RATE = 0.1
# Limit on a measurement, as a multiple of the recorded value.
MOST_SLOWER = 1.25
# Number of first steps of a size whose median is recorded. The very first step also allocates memory.
FIRST = 3
# Factor on the part of a ratio above 1 in each step of another size, so that slow steps do not rule a size out forever.
FORGETTING = 0.997
# Drafts end at a token whose chance is below this fraction of its relative cost, within these bounds.
WORTH, LEAST, MOST = 0.8, 0.05, 0.8
# Maximum number of steps without lookups, if drafts save less time than the lookups take.
LONGEST_REST = 15


class _Book:
    """The measurements of steps with `rows` sequences: their times, and what drafts save."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.rest = self._rested = 0
        self._level: float | None = None  # seconds of a step without drafts
        self._ratios = {0: 1.0}  # time of a step by number of draft tokens, as a multiple of the level
        self._first: dict[int, list[float]] = {}
        self._saved, self._spent = 0.0, 0.0

    @property
    def timed(self) -> bool:
        """Whether steps without drafts have been timed."""
        return self._level is not None

    def saw(self, drafted: int, seconds: float) -> None:
        """Record the time of a step."""
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
        self._level = _follow(level, seconds / ratio, LEVEL_RATE)

    def _within(self, drafted: int, ratio: float) -> float:
        """Return the ratio within its possible range: separate steps for the tokens would cost no more."""
        return max(1.0, min(ratio, 1 + drafted / self.rows))

    @property
    def least(self) -> float:
        """The chance below which a draft token cannot be worth its time."""
        costs = [(ratio - 1) * self.rows / drafted for drafted, ratio in self._ratios.items() if drafted]
        return min(MOST, max(LEAST, WORTH * min(costs, default=0.0)))

    def best(self, gains: Sequence[float]) -> tuple[int, float]:
        """Return the number of draft tokens to verify, and the seconds that this should save.

        A size that was never timed counts as fast as the next smaller one, so that it is tried.

        Args:
            gains: the chance of each draft token, in descending order.
        """
        ratios, rows = self._ratios, self.rows
        chosen, saved, fastest = 0, 0.0, float(rows)
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
        """Record the seconds that lookups should save and those that they took; rest if they do not pay."""
        self._spent = _follow(self._spent, spent, BALANCE_RATE) if self._spent else spent
        self._saved += BALANCE_RATE * (saved - self._saved)
        self._rested = 0 if self._saved >= self._spent else min(2 * self._rested + 1, LONGEST_REST)
        self.rest = self._rested


def _follow(known: float, seen: float, rate: float) -> float:
    return known + rate * (min(seen, MOST_SLOWER * known) - known)


class Speculation:
    """Chooses the drafts that maximise the tokens per second, by measured hit rates and step times.

    Args:
        limit: maximum number of draft tokens per sequence.
        capacity: maximum number of tokens that a step can compute.
        table: the draft table of the artifact, if it has one.
    """

    def __init__(self, limit: int, capacity: int, table: DraftTable | None = None) -> None:
        self._limit = limit
        self._capacity = capacity
        self._table = table
        self._shared = Experience()
        self._books: dict[int, _Book] = {}

    def drafter(self, prompt: Sequence[int]) -> Drafter:
        """Return a drafter for a sequence that begins with `prompt`."""
        return Drafter(prompt, self._table, self._shared)

    def plan(self, drafters: Sequence[Drafter], room: Sequence[int]) -> list[list[int]]:
        """Return a draft for each sequence, possibly empty.

        Args:
            drafters: one for each running sequence.
            room: maximum number of draft tokens for each of them.
        """
        most = self._capacity - len(drafters)
        book = self._book(len(drafters))
        if most <= 0 or book.rest or not book.timed:
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
        """Yield the draft tokens of each source since the previous call, and how many of them were accepted."""
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
        """Return the number of draft tokens of each sequence, and the seconds that they should save."""
        # Within a sequence chances fall, so the likeliest tokens of all are a beginning of each draft.
        ranked = sorted(((chance, row) for row, one in enumerate(chances) for chance in one), reverse=True)[:most]
        total, saved = book.best([chance for chance, _ in ranked])
        counts = [0] * len(chances)
        for _, row in ranked[:total]:
            counts[row] += 1
        return counts, saved
