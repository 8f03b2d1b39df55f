"""Control the concurrency of requests to a deployment: raise it while the deployment keeps up, lower it on congestion.

This follows TCP's congestion control (RFC 5681). Until the first congestion, every answer raises the level by one;
afterwards, every round of answers does. Congestion lowers the level by a fraction, once for all requests that were sent
in the same round.
"""

import re

FIRST = 4
KEPT = 0.7
# Seconds in an instance's queue above which further concurrent requests would only wait longer. Below this, waiting
# requests make the platform start another instance.
QUEUE_S = 5.0
_QUEUE = re.compile(r"(?:^|,)\s*queue;dur=([0-9.]+)")


class Level:
    """The number of concurrent requests, from 1 to `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._level = float(min(FIRST, most))
        self._probing = True
        self.round = 0

    @property
    def limit(self) -> int:
        """The number of requests that may run now."""
        return int(self._level)

    def answered(self, sent: int, queue_s: float) -> None:
        """Record an answer that waited for `queue_s` seconds in the queue; `sent` is the `round` of its request."""
        if queue_s > 2 * QUEUE_S:
            self.congested(sent)
        elif queue_s <= QUEUE_S:
            self._level = min(float(self._most), self._level + (1.0 if self._probing else 1.0 / self._level))

    def congested(self, sent: int) -> None:
        """Record that a request was refused or lost; `sent` is the `round` of the request."""
        if sent < self.round:  # the level has been lowered since then
            return
        self.round += 1
        self._probing = False
        self._level = max(1.0, self._level * KEPT)


def queue_s(server_timing: str) -> float:
    """Return the seconds that a request waited in the queue, from its ``Server-Timing`` header; 0 if not given."""
    found = _QUEUE.search(server_timing)
    try:
        return float(found[1]) / 1000 if found else 0.0
    except ValueError:
        return 0.0
