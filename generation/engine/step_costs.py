"""What the steps of one batch size cost, by measurement, and how many draft tokens pay."""

from collections.abc import Sequence

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
LEAST_GAIN = 1.05
# A token that is less likely than this part of what it costs is not looked up; bounds of what it is compared with.
WORTH, LEAST, MOST = 0.8, 0.05, 0.8
# Most steps that pass without a look at the drafts, where they bring less than it costs.
LONGEST_REST = 15
# Looks before the first rest.
LEAST_LOOKS = 20
# Rate at which the numbers of expected and of accepted draft tokens follow new steps.
TRUST_RATE = 0.05


class StepCosts:
    """What is known of steps with `rows` sequences: what they take with so many draft tokens, and what drafts save.

    Attributes:
        rest: steps that are to pass before the next look at the drafts.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.rest = self._rested = 0
        self._level: float | None = None  # seconds of a step without drafts
        self._ratios = {0: 1.0}  # what a step takes with so many draft tokens, as a multiple of that
        self._first: dict[int, list[float]] = {}
        self._since = 0
        self._looks, self._saved, self._spent = 0, 0.0, 0.0
        # Draft tokens that a step accepts: as their chances promise, and as it was. The choice of the most promising
        # drafts favours chances that are too high.
        self._promised, self._accepted = 1.0, 1.0

    @property
    def level(self) -> float:
        """Seconds of a step without drafts; 0 until it has been measured."""
        return self._level or 0.0

    @property
    def wants_plain(self) -> bool:
        """Whether the next step should have no drafts, because the time of such a step is not known or long ago."""
        return self._level is None or self._since >= LONGEST_SINCE

    def kept(self, promised: float, accepted: int) -> None:
        """Record how many draft tokens a step accepted, and how many it should have by their chances."""
        self._promised += TRUST_RATE * (promised - self._promised)
        self._accepted += TRUST_RATE * (accepted - self._accepted)

    def saw(self, drafted: int, seconds: float) -> None:
        """Record the time of a step."""
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
        """Return the median of the first steps of a size, once there are enough."""
        first = self._first.setdefault(drafted, [])
        first.append(value)
        return sorted(self._first.pop(drafted))[FIRST // 2] if len(first) == FIRST else None

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
        """Record what a look at the drafts is expected to save and what it took; rest where it does not pay."""
        self._looks += 1
        self._spent = _follow(self._spent, spent, BALANCE_RATE) if self._spent else spent
        self._saved += max(BALANCE_RATE, 1 / self._looks) * (saved - self._saved)
        pays = self._saved >= self._spent or self._looks < LEAST_LOOKS
        self._rested = 0 if pays else min(2 * self._rested + 1, LONGEST_REST)
        self.rest = self._rested


def _follow(known: float, seen: float, rate: float) -> float:
    return known + rate * (min(seen, MOST_SLOWER * known) - known)
