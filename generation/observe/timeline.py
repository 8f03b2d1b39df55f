"""The times at which a request reaches each stage of the engine, and the durations of the stages."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Timeline:
    """Times and counts of one request to the engine. Counts are final once `ended` is set.

    Times are seconds of `time.monotonic`; None for a stage that has not been reached.
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
        """Return the name, start and end of each stage."""
        return (
            ("queue", self.submitted, self.admitted),
            ("prefill", self.admitted, self.first_token),
            ("decode", self.first_token, self.ended),
        )


def phases(timelines: Iterable[Timeline]) -> dict[str, float]:
    """Return the seconds spent in each completed stage: queue, prefill and decode.

    For several prompts of one request, return the longest time of each stage.
    """
    found: dict[str, float] = {}
    for one in timelines:
        for name, start, end in one.stages():
            if start is not None and end is not None:
                found[name] = max(found.get(name, 0.0), end - start)
    return found
