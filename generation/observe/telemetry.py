"""Counters and histograms of one engine; `generation.api.metrics` formats them for Prometheus.

Recording takes a few additions per sequence and step. Only the engine's thread writes, without locks, so a reader may
see a partly counted step.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from generation.observe.histogram import LONG, SHORT, SIZES, TOKENS, Histogram
from generation.observe.timeline import Timeline

CANCELLED = "cancelled"


class Telemetry:
    """Counts and histograms since the process started. Times are in seconds."""

    def __init__(self) -> None:
        self.queue_s = Histogram(LONG)
        self.first_token_s = Histogram(LONG)
        self.between_tokens_s = Histogram(SHORT)
        self.step_s = Histogram(SHORT)
        self.prefill_s = Histogram(SHORT)
        self.batch = Histogram(SIZES)
        self.request_tokens = Histogram(TOKENS)
        self.prompt_tokens = self.cached_tokens = self.generated_tokens = 0
        self.prefix_hits = 0
        self.drafted: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.cancelled = self.restarts = 0
        self.finished: Counter[str] = Counter()
        self.rejections: Counter[str] = Counter()

    def rejected(self, code: str) -> None:
        """Count a request that was refused before it was queued, by the code of its error."""
        self.rejections[code] += 1

    def admitted(self, timeline: Timeline, cached_tokens: int) -> None:
        """Count a request at the start of prefill; `cached_tokens` of its prompt come from the prefix cache."""
        timeline.admitted = time.monotonic()
        timeline.cached_tokens = cached_tokens
        self.queue_s.observe(timeline.admitted - timeline.submitted)
        self.prompt_tokens += timeline.prompt_tokens
        self.cached_tokens += cached_tokens
        self.prefix_hits += cached_tokens > 0

    def prefilled(self, seconds: float) -> None:
        """Count one run of the model over chunks of prompts, which took `seconds`."""
        self.prefill_s.observe(seconds)

    def began(self, timeline: Timeline, now: float, tokens: int) -> None:
        """Count the first tokens of a request: one per sequence, or none if it only scores its prompt."""
        self.generated_tokens += tokens
        if tokens:
            timeline.first_token = now
            self.first_token_s.observe(now - timeline.submitted)

    def stepped(self, seconds: float, news: Sequence[tuple[int, float]]) -> None:
        """Count a decode step.

        Args:
            seconds: time that the model took.
            news: for each sequence, the number of new tokens, and the seconds since its previous token.
        """
        tokens = 0
        observe = self.between_tokens_s.observe
        for new, waited in news:
            if new:
                observe(waited / new, new)
                tokens += new
        self.generated_tokens += tokens
        self.step_s.observe(seconds)
        self.batch.observe(len(news))

    def speculated(self, drafts: Iterable[tuple[str, int, int]]) -> None:
        """Count, for each source of drafts, its draft tokens and how many of them were accepted."""
        for source, drafted, accepted in drafts:
            self.drafted[source] += drafted
            self.accepted[source] += accepted

    def closed(self, timeline: Timeline, ends: Iterable[tuple[str, int]]) -> None:
        """Count the end of a request. Call this once per request, before its mailbox is closed.

        Args:
            timeline: timeline of the request, which this call completes.
            ends: finish reason and number of generated tokens of each sequence.
        """
        timeline.ended = time.monotonic()
        for reason, tokens in ends:
            timeline.finish_reasons.append(reason)
            timeline.generated_tokens += tokens
            self.request_tokens.observe(tokens)
        self.finished.update(timeline.finish_reasons)
        self.cancelled += CANCELLED in timeline.finish_reasons
