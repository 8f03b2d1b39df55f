"""Show a line on a terminal that is overwritten by the next one."""

import shutil
from typing import TextIO

BAR = 24


def bar(part: float) -> str:
    """Return a bar for a fraction from 0 to 1."""
    return f"[{'#' * int(min(1.0, max(0.0, part)) * BAR):-<{BAR}}]"


class StatusLine:
    """A status line. If the output is not a terminal, `watched` is False and nothing is written."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.watched = out.isatty()

    def show(self, text: str) -> None:
        """Replace the line by `text`, truncated to the width of the terminal."""
        if self.watched:
            self._out.write("\r" + text[: shutil.get_terminal_size().columns - 1] + "\x1b[K")
            self._out.flush()

    def clear(self) -> None:
        """Remove the line."""
        if self.watched:
            self._out.write("\r\x1b[K")
            self._out.flush()
