"""Limit the connections of the embedded host, so that slow or idle ones cannot block others.

A connection without a complete request head in time is closed. The number of connections stays below the limit of file
descriptors, so `accept` never fails. A connection past the limit gets status 503 and is closed.
"""

import asyncio
import logging
import resource
import time
from typing import Any, cast

from generation.cli.host_limits import LimitedProtocol

log = logging.getLogger(__name__)

# Maximum time for a request head, from the start of its connection or from its first byte.
HEAD_S = 20.0
MOST = 1024
# File descriptors reserved for the process itself, such as those of the model's files.
OWN_DESCRIPTORS = 32
MOST_BACKLOG = 128
WARN_S = 60.0
FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"


def limits(descriptors: int | None = None) -> tuple[int, int]:
    """Return the maximum numbers of connections and of connections waiting to be accepted, by the descriptor limit."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if descriptors is None else descriptors
    spare = max(8, soft - OWN_DESCRIPTORS) if soft != resource.RLIM_INFINITY else 2 * MOST
    backlog = max(1, min(MOST_BACKLOG, spare // 4))
    return min(MOST, spare - backlog), backlog


class LimitedConnection(LimitedProtocol):
    """The protocol of the embedded host, with limits on the number of connections and on the time for a head."""

    most = MOST
    warned = -WARN_S
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or refuse it past the limit."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._warn()
            transport.write(FULL)
            transport.close()
            return
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Process data; the time for a head counts while there is no request."""
        super().data_received(data)
        cycle = cast("Any", self.cycle)
        if cycle is not None and not cycle.response_complete:
            self._stop_timer()
        elif self._timer is None:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer of the closed connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_S, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        cycle = cast("Any", self.cycle)
        if cycle is None or cycle.response_complete:
            self.transport.close()

    def _warn(self) -> None:
        kind = type(self)
        if time.monotonic() - kind.warned >= WARN_S:
            kind.warned = time.monotonic()
            log.warning("there are %d connections, the most that are served; more are refused", self.most)
