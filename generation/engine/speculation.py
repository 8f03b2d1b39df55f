"""Speculation: verify draft tokens in the step that computes the newest token.

A step computes several tokens of a sequence for little more than the cost of one. It therefore computes the last token
together with a draft of the tokens after it. The sampler then chooses token by token as usual. If it chooses the draft
token, the logits for the next choice are already computed. Only tokens that the sampler itself chooses are accepted, so
the output is identical with and without speculation, whether sampled or greedy. This requires a graph whose results for
a token do not depend on the number of tokens in the step: one with an int8 cache.
"""

import time
from collections.abc import Iterator, Sequence

from generation.engine.drafter import SOURCES, Drafter, Experience
from generation.engine.interface import DraftTable
from generation.engine.step_costs import StepCosts

# Seconds that a sequence's lookups in the draft table take, and the fraction of a step's time that the lookups of all
# sequences may take. A small model with several sequences saves less than more would cost: docs/performance.md.
LOOKUP_S, MOST_LOOKUP = 25e-6, 0.05


class Speculation:
    """Chooses the drafts that maximise tokens per second, by measured acceptance rates and step times.

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
        self._costs: dict[int, StepCosts] = {}
        # For the step planned last: the expected number of accepted draft tokens, and the total accepted before it.
        self._promised, self._before = 0.0, 0

    def drafter(self, prompt: Sequence[int]) -> Drafter:
        """Return a drafter for a sequence that begins with `prompt`."""
        return Drafter(prompt, self._table, self._shared)

    def plan(self, drafters: Sequence[Drafter], room: Sequence[int]) -> list[list[int]]:
        """Return a draft for each sequence, possibly empty.

        Args:
            drafters: one for each running sequence.
            room: maximum number of draft tokens for each of them.
        """
        self._promised = 0.0
        most = self._capacity - len(drafters)
        costs = self._cost_of(len(drafters))
        if most <= 0 or costs.rest or costs.wants_plain:
            costs.rest = max(0, costs.rest - 1)
            return [[] for _ in drafters]
        began = time.perf_counter()
        limits = [min(self._limit, most, one) for one in room]
        least = costs.least
        table = len(drafters) * LOOKUP_S <= MOST_LOOKUP * costs.level
        chances = [one.chances(limit, least, table=table) for one, limit in zip(drafters, limits, strict=True)]
        counts, saved = self._choose(costs, chances, most)
        drafts = [one.take(count) for one, count in zip(drafters, counts, strict=True)]
        costs.settle(saved, time.perf_counter() - began)
        return drafts

    def saw(self, rows: int, tokens: int, seconds: float) -> None:
        """Record the time and the accepted drafts of a step that computed `tokens` tokens of `rows` sequences."""
        costs = self._cost_of(rows)
        costs.saw(tokens - rows, seconds)
        if self._promised:
            costs.kept(self._promised, self._accepted() - self._before)
            self._promised = 0.0

    def counted(self) -> Iterator[tuple[str, int, int]]:
        """Yield each source with its numbers of drafted and accepted tokens since the previous call."""
        shared = self._shared
        for source in SOURCES:
            drafted, accepted = shared.drafted[source], shared.accepted[source]
            if drafted or accepted:
                shared.drafted[source] = shared.accepted[source] = 0
                yield source, drafted, accepted

    def _accepted(self) -> int:
        return sum(self._shared.accepted.values())

    def _cost_of(self, rows: int) -> StepCosts:
        return self._costs.get(rows) or self._costs.setdefault(rows, StepCosts(rows))

    def _choose(self, costs: StepCosts, chances: list[list[float]], most: int) -> tuple[list[int], float]:
        """Return the number of draft tokens for each sequence, and the seconds that they are expected to save."""
        # Chances fall within a sequence, so the most likely tokens overall form a prefix of each draft.
        ranked = sorted(((chance, row) for row, one in enumerate(chances) for chance in one), reverse=True)[:most]
        total, saved = costs.best([chance for chance, _ in ranked])
        self._promised, self._before = sum(chance for chance, _ in ranked[:total]), self._accepted()
        counts = [0] * len(chances)
        for _, row in ranked[:total]:
            counts[row] += 1
        return counts, saved
