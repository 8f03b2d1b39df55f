"""Count the results of a batch: for the progress line while it runs, and for the summary at its end."""

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TextIO

from generation.cli.batch.answer import Answer
from generation.cli.progress import StatusLine, bar

WINDOW_S = 60.0  # speed and time left are those of this time
WATCHED_EVERY_S = 0.25
LOGGED_EVERY_S = 10.0
SHOWN = 5


class Tally:
    """Counts answers, tokens and failures, and measures speed.

    Args:
        total: number of lines of the input.
        before: number of lines that earlier runs have answered.
        failed_before: number of these that failed.
        clock: returns the time in seconds.
    """

    def __init__(
        self, total: int, before: int, failed_before: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total, self.before, self._failed_before = total, before, failed_before
        self.answered = self.prompt_tokens = self.new_tokens = 0
        self.failures: Counter[str] = Counter()
        self._clock = clock
        self.start()

    def start(self) -> None:
        """Start to measure time."""
        self._began = self._clock()
        self._marks: deque[tuple[float, int, int, int]] = deque([(self._began, 0, 0, 0)])

    def add(self, answer: Answer) -> None:
        """Count an answer that has been written."""
        self.answered += 1
        if answer.code is not None:
            self.failures[answer.code] += 1
        self.prompt_tokens += answer.usage.get("prompt_tokens", 0)
        self.new_tokens += answer.usage.get("completion_tokens", 0)

    @property
    def done(self) -> int:
        """Number of lines in the output."""
        return self.before + self.answered

    @property
    def failed(self) -> int:
        """Number of failed lines in the output."""
        return self._failed_before + self.failures.total()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._began

    def speeds(self) -> tuple[float, float, float]:
        """Return lines, prompt tokens and new tokens per second, over about the last minute."""
        now = self._clock()
        then, *counts = self._marks[0]
        seconds = max(now - then, 1e-9)
        lines, prompt, new = (
            (after - before) / seconds
            for after, before in zip((self.answered, self.prompt_tokens, self.new_tokens), counts, strict=True)
        )
        if now - self._marks[-1][0] >= 1:
            self._marks.append((now, self.answered, self.prompt_tokens, self.new_tokens))
        while len(self._marks) > 1 and now - self._marks[0][0] > WINDOW_S:
            self._marks.popleft()
        return lines, prompt, new

    def progress(self, note: str = "") -> str:
        """Return the progress line, with `note` at its end."""
        lines, prompt, new = self.speeds()
        part = self.done / self.total if self.total else 1.0
        left = duration((self.total - self.done) / lines) if lines else "?"
        failed = f", {self.failed} failed" if self.failed else ""
        return (
            f"{bar(part)} {self.done}/{self.total} lines{failed}, {prompt:.0f} prompt + {new:.0f} new tokens/s, "
            f"{left} left{note}"
        )

    def summary(self) -> str:
        """Return the summary of the run."""
        seconds = max(self.seconds, 1e-9)
        text = f"{self.done} of {self.total} lines are answered"
        if self.before:
            text += f", {self.before} of them by earlier runs"
        if self.answered:
            text += f"\n{self.answered} lines in {duration(seconds)}: "
            text += f"{self.prompt_tokens} prompt tokens ({self.prompt_tokens / seconds:.0f}/s), "
            text += f"{self.new_tokens} new tokens ({self.new_tokens / seconds:.0f}/s)"
        if self.failed:
            kinds = [f"{count} x {code}" for code, count in self.failures.most_common(SHOWN)]
            kinds += ["..."] * (len(self.failures) > SHOWN)
            if self._failed_before:
                kinds.append(f"{self._failed_before} in earlier runs (--retry-failed tries those again)")
            text += f"\n{self.failed} of them failed: {', '.join(kinds)}"
        return text


def duration(seconds: float) -> str:
    """Format a duration for people: ``8 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s" if whole < 10 else f"{whole} s"  # noqa: PLR2004
    minutes, rest = divmod(whole, 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


class Progress:
    """Shows the progress: a line that is overwritten, or a new line every ten seconds if there is no terminal."""

    def __init__(self, out: TextIO, tally: Tally) -> None:
        self._out, self._tally = out, tally
        self._line = StatusLine(out)
        self.every_s = WATCHED_EVERY_S if self._line.watched else LOGGED_EVERY_S

    def show(self, note: str = "") -> None:
        """Show the progress; call this every `every_s` seconds."""
        if self._line.watched:
            self._line.show(self._tally.progress(note))
        else:
            print(self._tally.progress(note), file=self._out, flush=True)

    def clear(self) -> None:
        """Remove the line, so that other output can follow."""
        self._line.clear()
