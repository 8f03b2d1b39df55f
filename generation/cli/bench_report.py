"""Report a load: a progress line while it runs, then a summary as JSON and as a table."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from generation.cli.progress import StatusLine, bar

QUANTILES = (50, 90, 99)


@dataclass(slots=True)
class Outcome:
    """The outcome of one request. Times are seconds of `time.perf_counter`.

    Attributes:
        due: when it was due to be sent.
        events: arrivals of the events with text.
        tokens: number of generated tokens.
        ended: when its response ended.
        error: why it failed, or None.
    """

    due: float
    events: list[float] = field(default_factory=list)
    tokens: int = 0
    ended: float = 0.0
    error: str | None = None


def quantile(values: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that at least `percent` percent of the values do not exceed; None without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None


def summarize(outcomes: Sequence[Outcome], begun: float) -> dict[str, Any]:
    """Return the summary of a load that started at `begun`; its times are in milliseconds."""
    good = [one for one in outcomes if one.error is None]
    seconds = max((one.ended for one in outcomes), default=begun) - begun
    tokens = sum(one.tokens for one in good)
    return {
        "seconds": round(seconds, 3),
        "requests": {
            "ended": len(outcomes),
            "succeeded": len(good),
            "errors": dict(Counter(one.error for one in outcomes if one.error is not None)),
        },
        "tokens": tokens,
        "tokens_per_s": round(tokens / seconds, 1) if seconds else 0.0,
        "requests_per_s": round(len(good) / seconds, 2) if seconds else 0.0,
        "time_to_first_token_ms": _spread([one.events[0] - one.due for one in good if one.events]),
        "between_events_ms": _spread(
            [later - earlier for one in good for earlier, later in zip(one.events, one.events[1:], strict=False)]
        ),
        "per_token_ms": _spread(
            [(one.events[-1] - one.events[0]) / (one.tokens - 1) for one in good if one.events and one.tokens > 1]
        ),
        "whole_request_ms": _spread([one.ended - one.due for one in good]),
    }


def _spread(seconds: Sequence[float]) -> dict[str, float | None]:
    values = {f"p{percent}": quantile(seconds, percent) for percent in QUANTILES}
    values["max"] = max(seconds, default=None)
    return {name: None if value is None else round(value * 1000, 2) for name, value in values.items()}


def table(summary: dict[str, Any]) -> str:
    """Return the summary as a Markdown table."""
    load, requests = summary["load"], summary["requests"]
    how = (
        f"open loop, {load['rate']:g} requests/s"
        if load["loop"] == "open"
        else f"closed loop, {load['clients']} clients"
    )
    speed = f"{summary['tokens_per_s']:.1f} tokens/s, {summary['requests_per_s']:.2f} requests/s"
    lines = [
        f"{load['model']} ({load['precision']}) at {load['url']}: {how}, {load['max_new_tokens']} tokens each",
        f"{requests['succeeded']} of {requests['ended']} requests in {summary['seconds']:.1f} s: {speed}",
        "",
        "| ms | median | 90 % | 99 % | most |",
        "|---|---|---|---|---|",
    ]
    names = {
        "time_to_first_token_ms": "time to first token",
        "between_events_ms": "between events",
        "per_token_ms": "per token",
        "whole_request_ms": "whole request",
    }
    for key, name in names.items():
        cells = " | ".join("" if value is None else f"{value:.1f}" for value in summary[key].values())
        lines.append(f"| {name} | {cells} |")
    lines += [f"error: {count} x {error}" for error, count in sorted(requests["errors"].items())]
    if summary["left_out"]:
        lines.append(f"error: {summary['left_out']} requests were not sent: too many were under way")
    return "\n".join(lines)


class Progress:
    """A progress line that overwrites itself; prints nothing if the output is not a terminal."""

    def __init__(self, out: TextIO, requests: int, duration_s: float) -> None:
        self._line = StatusLine(out)
        self._requests, self._duration_s = requests, duration_s

    def show(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        """Show the progress by requests or by time, whichever is further."""
        if not self._line.watched:
            return
        errors = sum(one.error is not None for one in list(outcomes))
        done = bar(max(len(outcomes) / self._requests, seconds / self._duration_s))
        self._line.show(f"{done} {len(outcomes)}/{self._requests} requests, {seconds:.0f} s, {errors} errors")

    def clear(self) -> None:
        """Remove the line."""
        self._line.clear()
