"""Histograms as Prometheus defines them, updated without locks or look-ups.

The bounds below are for durations of steps (`SHORT`) and requests (`LONG`) in seconds, and for counts of sequences
(`SIZES`) and `TOKENS`.
"""

from bisect import bisect_left

SHORT = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0)
LONG = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 200.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 32.0, 64.0, 128.0, 256.0)
TOKENS = (1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class Histogram:
    """Counts of values by bucket, and the sum of the values.

    Attributes:
        bounds: inclusive upper bounds of the buckets, ascending.
        counts: number of values in each bucket; one more than `bounds`, because the last bucket has no bound.
        total: sum of all values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count `value`, `times` times. A bucket includes its upper bound, as Prometheus defines."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times
