"""Measure the step times of one batch size, and choose the number of draft tokens that pays."""

from collections.abc import Sequence

# Allowed numbers of draft tokens in a step, summed over all sequences. There are few, so that each is soon timed.
SIZES = (1, 2, 3, 4, 5, 7, 11, 15, 23, 31)
# Smoothing factors of the time of a step without drafts, and of the ratio of another size to it. Other processes may
# slow all steps down for a while, so a size is measured by its ratio to a recent step without drafts.
LEVEL_RATE, RATIO_RATE = 0.3, 0.25
# Smoothing factor of the seconds that drafts save, which vary from step to step, and of the seconds that they cost.
BALANCE_RATE = 0.1
# Maximum number of consecutive steps with drafts. A step without drafts then renews the baseline.
LONGEST_SINCE = 24
# A measurement is capped at this multiple of the current estimate.
MOST_SLOWER = 1.25
# The first estimate of a size is the median of this many steps. The very first step also allocates memory.
FIRST = 3
# The part of a ratio above 1 is multiplied by this in each step of another size. A size that was slow once is therefore
# tried again.
FORGETTING = 0.997
# Minimum expected speedup of a step with drafts, in tokens per second. Less is within the measurement error.
LEAST_GAIN = 1.05
# A token is not looked up if its chance is below WORTH times its cost. LEAST and MOST bound that threshold.
WORTH, LEAST, MOST = 0.8, 0.05, 0.8
# Maximum number of steps to skip planning, while it costs more than it saves.
LONGEST_REST = 15
# Number of plans to make before the first pause.
LEAST_LOOKS = 20
# Smoothing factor of the expected and the accepted number of draft tokens.
TRUST_RATE = 0.05


class StepCosts:
    """Estimates the time of a step with `rows` sequences by its number of draft tokens, and the time that drafts save.

    Attributes:
        rest: number of steps to skip before drafts are planned again.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.rest = self._rested = 0
        self._level: float | None = None  # seconds of a step without drafts
        self._ratios = {0: 1.0}  # by number of draft tokens: step time relative to `_level`
        self._first: dict[int, list[float]] = {}
        self._since = 0
        self._looks, self._saved, self._spent = 0, 0.0, 0.0
        # Expected and actual number of accepted draft tokens per step. Choosing the most promising drafts favours
        # chances that are too high.
        self._promised, self._accepted = 1.0, 1.0

    @property
    def level(self) -> float:
        """Seconds of a step without drafts; 0 until it has been measured."""
        return self._level or 0.0

    @property
    def wants_plain(self) -> bool:
        """Whether the next step should have no drafts: the time of such a step is unknown or out of date."""
        return self._level is None or self._since >= LONGEST_SINCE

    def kept(self, promised: float, accepted: int) -> None:
        """Record the expected and the actual number of accepted draft tokens of a step."""
        self._promised += TRUST_RATE * (promised - self._promised)
        self._accepted += TRUST_RATE * (accepted - self._accepted)

    def saw(self, drafted: int, seconds: float) -> None:
        """Record the time of a step with `drafted` draft tokens."""
        self._since = self._since + 1 if drafted else 0
        if self._level is None:
            typical = None if drafted else self._typical(0, seconds)
            self._level = typical
        elif drafted == 0:
            self._level = _follow(self._level, seconds, LEVEL_RATE)
        elif drafted in self._ratios:
            ratio = _follow(self._ratios[drafted], seconds / self._level, RATIO_RATE)
            self._ratios[drafted] = self._within(drafted, ratio)
        elif (typical := self._typical(drafted, seconds / self._level)) is not None:
            self._ratios[drafted] = self._within(drafted, typical)

    def _typical(self, drafted: int, value: float) -> float | None:
        """Return the median of the first steps of a size; None until there are enough."""
        first = self._first.setdefault(drafted, [])
        first.append(value)
        return sorted(self._first.pop(drafted))[FIRST // 2] if len(first) == FIRST else None

    def _within(self, drafted: int, ratio: float) -> float:
        """Clamp the ratio: from 1 to the cost of computing the draft tokens in separate steps."""
        return max(1.0, min(ratio, 1 + drafted / self.rows))

    @property
    def least(self) -> float:
        """Minimum chance at which a draft token may be worth its time."""
        costs = [(ratio - 1) * self.rows / drafted for drafted, ratio in self._ratios.items() if drafted]
        return min(MOST, max(LEAST, WORTH * min(costs, default=0.0)))

    def best(self, gains: Sequence[float]) -> tuple[int, float]:
        """Return how many draft tokens to verify, and the seconds that this is expected to save.

        A size that was never timed is assumed to cost as much as the next smaller one, so that it is tried.

        Args:
            gains: the acceptance probability of each draft token, in descending order.
        """
        ratios, rows = self._ratios, self.rows
        chosen, saved, fastest = 0, 0.0, LEAST_GAIN * rows
        trust = min(1.0, self._accepted / self._promised)
        tokens, started, ratio = float(rows), 0, 1.0
        for size in SIZES:
            if size > len(gains):
                break
            tokens += trust * sum(gains[started:size])
            started = size
            ratio = ratios.get(size, ratio)
            if tokens / ratio > fastest:
                fastest = tokens / ratio
                chosen, saved = size, tokens / rows - ratio
            elif size in ratios:
                ratios[size] = 1 + (ratio - 1) * FORGETTING ** (1 + self._rested)
        return chosen, saved * (self._level or 0.0)

    def settle(self, saved: float, spent: float) -> None:
        """Record the seconds that a plan is expected to save and those that it took; pause planning if that is more."""
        self._looks += 1
        self._spent = _follow(self._spent, spent, BALANCE_RATE) if self._spent else spent
        self._saved += max(BALANCE_RATE, 1 / self._looks) * (saved - self._saved)
        pays = self._saved >= self._spent or self._looks < LEAST_LOOKS
        self._rested = 0 if pays else min(2 * self._rested + 1, LONGEST_REST)
        self.rest = self._rested


def _follow(known: float, seen: float, rate: float) -> float:
    return known + rate * (min(seen, MOST_SLOWER * known) - known)
