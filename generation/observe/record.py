"""One line of JSON a request, the counts of requests, and the headers that tell a client about them.

No prompt and no key is in the line; ``LOG_PROMPTS=on`` adds the prompts.
"""

import json
import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from generation.observe import tracing
from generation.observe.telemetry import LONG, Histogram, Timeline

log = logging.getLogger("generation.requests")

_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
# https://www.w3.org/TR/trace-context/: version ff is none, and ids of zeros are none.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

requests: Counter[tuple[str, str, int]] = Counter()
durations: dict[str, Histogram] = {}
_current: ContextVar["RequestRecord | None"] = ContextVar("record", default=None)


class RequestRecord:
    """One HTTP request, from its headers to the line in the log. It is written once, when the answer has ended."""

    def __init__(self, route: str, method: str, headers: Mapping[str, str]) -> None:
        given = headers.get("x-request-id", "")
        self.id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.route, self.method = route, method
        parent = _TRACEPARENT.fullmatch(headers.get("traceparent", "").strip())
        # A version that is not known may have more at its end; version 00 may not.
        if parent is not None and parent[4] and parent[0].startswith("00"):
            parent = None
        self.trace_id: str | None = parent[1] if parent else None
        self.parent_id: str | None = parent[2] if parent else None
        self.sampled = parent is None or bool(int(parent[3], 16) & 1)
        self.timelines: list[Timeline] = []
        self.error_code: str | None = None
        self.prompts: list[str] | None = None
        self.status = 500
        self.began = time.monotonic()
        self._written = False
        _current.set(self)

    def headers(self) -> dict[str, str]:
        """Return the headers of the answer: the id, and as much of the timing as is known by now, in milliseconds."""
        times = {**phases(self.timelines), "total": time.monotonic() - self.began}
        timing = ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in times.items())
        return {"x-request-id": self.id, "Server-Timing": timing}

    def finish(self) -> None:
        """Count the request, write its line and its trace; only the first call counts."""
        if self._written:
            return
        self._written = True
        seconds = time.monotonic() - self.began
        requests[self.route, self.method, self.status] += 1
        durations.setdefault(self.route, Histogram(LONG)).observe(seconds)
        trace_id = tracing.export(self) or self.trace_id
        if log.isEnabledFor(logging.INFO):
            log.info("%s", json.dumps(self._line(seconds, trace_id), ensure_ascii=False))

    def _line(self, seconds: float, trace_id: str | None) -> dict[str, Any]:
        line: dict[str, Any] = {
            "event": "request",
            "id": self.id,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "ms": round(seconds * 1000, 1),
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


def note_prompts(*prompts: object) -> None:
    """Have the prompts of the request that is being answered written into its line; for ``LOG_PROMPTS=on`` only."""
    record = _current.get()
    if record is not None:
        record.prompts = [prompt if isinstance(prompt, str) else repr(prompt) for prompt in prompts]


def phases(timelines: list[Timeline]) -> dict[str, float]:
    """Return the seconds that a request spent in the queue, in prefill and in decode, as far as it got.

    Of prompts that were sent together each phase is the longest of theirs.
    """
    found: dict[str, float] = {}
    for one in timelines:
        for name, start, end in one.stages():
            if start is not None and end is not None:
                found[name] = max(found.get(name, 0.0), end - start)
    return found
