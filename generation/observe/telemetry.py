"""What the engine has done, as plain numbers: counted as it happens, turned into Prometheus's text by `metrics.py`.

Recording is a few additions for each sequence and step, without locks or look-ups: the engine's thread alone writes,
and whoever reads may see a step half counted. Times are seconds of `time.monotonic`.
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from generation.errors import ApiError

if TYPE_CHECKING:
    from generation.engine.scheduler import Group
    from generation.engine.sequence import Sequence

SHORT = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0)
LONG = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 200.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 32.0, 64.0, 128.0, 256.0)
TOKENS = (1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class Histogram:
    """Counts of values up to each bound, the last of which is infinity, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count `value` so many `times`. A value on a bound belongs below it, as Prometheus has it."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


@dataclass(slots=True)
class Timeline:
    """When a request to the engine came to what; None for what it has not come to. Counts are final once it `ended`."""

    submitted: float = 0.0
    prompt_tokens: int = 0
    admitted: float | None = None
    first_token: float | None = None
    ended: float | None = None
    cached_tokens: int = 0
    generated_tokens: int = 0
    finish_reasons: list[str] = field(default_factory=list)

    def stages(self) -> tuple[tuple[str, float | None, float | None], ...]:
        """Return (name, begin, end) of what a request goes through."""
        return (
            ("queue", self.submitted, self.admitted),
            ("prefill", self.admitted, self.first_token),
            ("decode", self.first_token, self.ended),
        )


# The timelines of the HTTP request that is being answered; `submit` adds to them, the log and the traces read them.
timelines: ContextVar[list[Timeline] | None] = ContextVar("timelines", default=None)


class Telemetry:
    """What one engine has done since it began."""

    def __init__(self) -> None:
        self.queue_s = Histogram(LONG)
        self.first_token_s = Histogram(LONG)
        self.between_tokens_s = Histogram(SHORT)
        self.step_s = Histogram(SHORT)
        self.prefill_s = Histogram(SHORT)
        self.batch = Histogram(SIZES)
        self.request_tokens = Histogram(TOKENS)
        self.prompt_tokens = self.cached_tokens = self.generated_tokens = 0
        self.prefix_hits = self.drafted = self.accepted = 0
        self.cancelled = 0
        self.finished: Counter[str] = Counter()
        self.rejections: Counter[str] = Counter()

    def submitted(self, prompt_tokens: int) -> Timeline:
        """Begin the timeline of a request, and add it to those of the HTTP request that it is a part of."""
        timeline = Timeline(time.monotonic(), prompt_tokens)
        mine = timelines.get()
        if mine is not None:
            mine.append(timeline)
        return timeline

    def rejected(self, error: ApiError) -> None:
        """Count a request that was refused before it was queued."""
        self.rejections[error.code] += 1

    def admitted(self, group: "Group") -> None:
        """Count a request whose prefill begins, with what it could reuse of other prompts."""
        timeline = group.timeline
        timeline.admitted = time.monotonic()
        timeline.cached_tokens = group.prefilled
        self.queue_s.observe(timeline.admitted - timeline.submitted)
        self.prompt_tokens += timeline.prompt_tokens
        self.cached_tokens += group.prefilled
        self.prefix_hits += group.prefilled > 0

    def prefilled(self, seconds: float) -> None:
        """Count one run of the model over chunks of prompts."""
        self.prefill_s.observe(seconds)

    def began(self, group: "Group") -> None:
        """Count the first tokens of a request's sequences."""
        now = time.monotonic()
        for sequence in group.sequences:
            self.generated_tokens += sequence.generated
            sequence.counted, sequence.token_at = sequence.generated, now
        if group.request.max_tokens:
            group.timeline.first_token = now
            self.first_token_s.observe(now - group.timeline.submitted)

    def stepped(self, running: Iterable["Sequence"], rows: int, seconds: float) -> None:
        """Count a decode step of `rows` tokens, after the next tokens of the `running` sequences were chosen."""
        now = time.monotonic()
        size = tokens = 0
        observe = self.between_tokens_s.observe
        for sequence in running:
            size += 1
            new = sequence.generated - sequence.counted
            if new:
                observe((now - sequence.token_at) / new, new)
                sequence.counted, sequence.token_at = sequence.generated, now
                tokens += new
        self.generated_tokens += tokens
        self.step_s.observe(seconds)
        self.batch.observe(size)
        if rows > size:
            self.speculated(rows - size, max(0, tokens - size))

    def speculated(self, drafted: int, accepted: int) -> None:
        """Count tokens that were guessed, and how many of them came true."""
        self.drafted += drafted
        self.accepted += accepted

    def closed(self, group: "Group", error: ApiError | None) -> None:
        """Count a request that ended, whichever way; called once for each, before its reader is told."""
        timeline = group.timeline
        timeline.ended = time.monotonic()
        reason = error or group.mailbox.error
        left = "cancelled" if reason is None else "timeout" if reason.code == "timeout" else "error"
        timeline.finish_reasons = [sequence.finish_reason or left for sequence in group.sequences]
        self.finished.update(timeline.finish_reasons)
        self.cancelled += "cancelled" in timeline.finish_reasons
        for sequence in group.sequences:
            timeline.generated_tokens += sequence.generated
            self.request_tokens.observe(sequence.generated)
