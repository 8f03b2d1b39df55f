"""The moments of a request to the engine, and the stages between them."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Timeline:
    """The moments of one request to the engine; None for what has not happened yet. Counts are final once it `ended`.

    Times are seconds of `time.monotonic`.
    """

    submitted: float = 0.0
    prompt_tokens: int = 0
    admitted: float | None = None
    first_token: float | None = None
    ended: float | None = None
    cached_tokens: int = 0
    generated_tokens: int = 0
    finish_reasons: list[str] = field(default_factory=list)

    def stages(self) -> tuple[tuple[str, float | None, float | None], ...]:
        """Return (name, start, end) of each stage of a request."""
        return (
            ("queue", self.submitted, self.admitted),
            ("prefill", self.admitted, self.first_token),
            ("decode", self.first_token, self.ended),
        )


def phases(timelines: Iterable[Timeline]) -> dict[str, float]:
    """Return the seconds that a request spent in each stage that it completed: queue, prefill, decode.

    For prompts that were sent together, each is the longest of theirs.
    """
    found: dict[str, float] = {}
    for one in timelines:
        for name, start, end in one.stages():
            if start is not None and end is not None:
                found[name] = max(found.get(name, 0.0), end - start)
    return found
