"""The record of one HTTP request: its id and trace, and the log line, metrics and spans that its end produces."""

import json
import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from generation.observe import tracing
from generation.observe.histogram import LONG, Histogram
from generation.observe.timeline import Timeline, phases

log = logging.getLogger("generation.requests")

_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
# https://www.w3.org/TR/trace-context/: version ff and all-zero ids are invalid.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

requests: Counter[tuple[str, str, int]] = Counter()
durations: dict[str, Histogram] = {}


# Routes that monitoring calls every few seconds; they are logged at debug level.
QUIET = frozenset({"health", "ready", "metrics"})


def request_id(headers: Mapping[str, str]) -> str:
    """Return the request's ``x-request-id`` if it is valid, or else a new id."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


class RequestRecord:
    """One HTTP request, from its headers to its end, which is recorded exactly once.

    A request ends when its response has ended and the engine has released everything submitted for it, because only
    then its cost is known. Call all methods on the event loop. The log line and the metrics have the name of the
    operation, `route`; spans have the path template, such as ``generate/{*prompt}``.
    """

    def __init__(self, route: str, method: str, headers: Mapping[str, str], template: str | None = None) -> None:
        self.id = request_id(headers)
        self.route, self.method, self.template = route, method, template
        given = [value for name, value in headers.items() if name == "traceparent"]
        # Of several such headers, none is known to be the caller's.
        parent = _TRACEPARENT.fullmatch(given[0].strip()) if len(given) == 1 else None
        # Later versions may have more fields at the end; version 00 may not.
        if parent is not None and parent[4] and parent[0].startswith("00"):
            parent = None
        self.trace_id: str | None = parent[1] if parent else None
        self.parent_id: str | None = parent[2] if parent else None
        self.sampled = parent is None or bool(int(parent[3], 16) & 1)
        self.timelines: list[Timeline] = []
        self.prompts: list[str] | None = None
        self.error_code: str | None = None
        self.status = 500
        self.began = time.monotonic()
        self.seconds = 0.0
        self._open = 1  # the response, and each stream that the engine has not released
        self._answered = False

    def headers(self) -> dict[str, str]:
        """Return the response headers: the request id, and the times of the completed stages in milliseconds."""
        times = {**phases(self.timelines), "total": time.monotonic() - self.began}
        timing = ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in times.items())
        return {"x-request-id": self.id, "Server-Timing": timing}

    def note_prompts(self, prompts: Iterable[object]) -> None:
        """Add the prompts to the log line; for ``LOG_PROMPTS=on`` only."""
        self.prompts = [prompt if isinstance(prompt, str) else repr(prompt) for prompt in prompts]

    def follow(self, timelines: Iterable[Timeline]) -> None:
        """Add requests that were submitted to the engine; call `release` when the engine has released them."""
        self.timelines += timelines
        self._open += 1

    def release(self) -> None:
        """Record that the engine has released the requests of one call of `follow`."""
        self._close_one()

    def answered(self, status: int, error_code: str | None = None) -> None:
        """Record the end of the response; only the first call has an effect."""
        if self._answered:
            return
        self._answered = True
        self.status, self.error_code = status, error_code
        self.seconds = time.monotonic() - self.began
        self._close_one()

    def _close_one(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._write()

    def _write(self) -> None:
        requests[self.route, self.method, self.status] += 1
        durations.setdefault(self.route, Histogram(LONG)).observe(self.seconds)
        trace_id = tracing.export(self) or self.trace_id
        # Probes and scrapes would fill the log.
        level = logging.DEBUG if self.route in QUIET and self.error_code is None else logging.INFO
        if log.isEnabledFor(level):
            log.log(level, "%s", json.dumps(self._line(trace_id), ensure_ascii=False))

    def _line(self, trace_id: str | None) -> dict[str, Any]:
        line: dict[str, Any] = {
            "event": "request",
            "id": self.id,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "ms": round(self.seconds * 1000, 1),
        }
        if self.error_code is not None:
            line["error"] = self.error_code
        if trace_id:
            line["trace_id"] = trace_id
        if self.timelines:
            line["prompt_tokens"] = sum(one.prompt_tokens for one in self.timelines)
            line["cached_tokens"] = sum(one.cached_tokens for one in self.timelines)
            line["generated_tokens"] = sum(one.generated_tokens for one in self.timelines)
            line["finish_reasons"] = dict(Counter(reason for one in self.timelines for reason in one.finish_reasons))
            line |= {f"{name}_ms": round(value * 1000, 1) for name, value in phases(self.timelines).items()}
        if self.prompts is not None:
            line["prompts"] = self.prompts
        return line
