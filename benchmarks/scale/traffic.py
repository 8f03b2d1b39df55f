"""Generate the arrival times of requests."""

import random
from collections.abc import Iterator
from dataclasses import dataclass


def poisson(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Yield the times of a Poisson process of `rate` per second, until `seconds`."""
    choose = random.Random(seed)  # noqa: S311 - not for secrets
    at = choose.expovariate(rate)
    while at < seconds:
        yield at
        at += choose.expovariate(rate)


@dataclass(frozen=True, slots=True)
class Bursts:
    """Traffic whose rate is `peak` times its mean for `high_s` of every `period_s`, and lower in between.

    A period has as many requests as steady traffic of the same mean rate. ``peak=1`` is steady.
    """

    peak: float = 1.0
    high_s: float = 60.0
    period_s: float = 300.0

    @property
    def low(self) -> float:
        """The rate between bursts, relative to the mean.

        Raises:
            ValueError: the bursts alone exceed the mean.
        """
        low = (self.period_s - self.peak * self.high_s) / (self.period_s - self.high_s)
        if low < 0:
            raise ValueError(f"a peak of {self.peak} for {self.high_s} s of {self.period_s} s is more than the mean")
        return low

    def arrivals(self, rate: float, seconds: float, seed: int) -> Iterator[float]:
        """Yield arrival times with a mean `rate` per second: a Poisson process, thinned to the current rate.

        Traffic starts with a low phase.
        """
        choose = random.Random(seed)  # noqa: S311 - not for secrets
        low = self.low / self.peak
        quiet_s = self.period_s - self.high_s
        for at in poisson(rate * self.peak, seconds, seed + 1):
            if at % self.period_s >= quiet_s or choose.random() < low:
                yield at


def open_loop(rate: float, seconds: float, round_: int) -> list[float]:
    """Return the arrival times of an open loop in a round, at least one; the same for a server and its simulation."""
    return list(poisson(rate, seconds, 1000 * round_ + int(rate))) or [0.0]
