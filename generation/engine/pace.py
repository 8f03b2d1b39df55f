"""Measure the engine's recent speed, and estimate how long its backlog will take."""

from dataclasses import dataclass

SMOOTHING = 0.1


@dataclass(slots=True)
class Pace:
    """Moving averages of the time of a decode step and of one prefilled token, in seconds.

    The initial values are deliberately high estimates.
    """

    step_s: float = 0.02
    prefill_token_s: float = 0.001

    def saw_step(self, seconds: float) -> None:
        """Record the time of one decode step."""
        self.step_s += SMOOTHING * (seconds - self.step_s)

    def saw_prefill(self, seconds: float, tokens: int) -> None:
        """Record the time of one prefill of `tokens` tokens."""
        self.prefill_token_s += SMOOTHING * (seconds / tokens - self.prefill_token_s)

    def backlog_s(self, prompt_tokens: int, new_tokens: int, rows: int) -> float:
        """Estimate the seconds to prefill `prompt_tokens` and to decode `new_tokens` in `rows` rows."""
        return prompt_tokens * self.prefill_token_s + new_tokens / rows * self.step_s
