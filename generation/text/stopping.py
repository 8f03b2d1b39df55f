"""Stop strings in streamed text."""

from collections.abc import Sequence


class StopMatcher:
    """Lets text through up to the first stop string; holds back only what may still become one.

    The first is the one that is complete first, and of those complete at once the longest. So the answer does not
    depend on how the text is cut, and nothing waits for a longer stop string around one that is already there.
    """

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        self._stops = tuple(stops)
        self._include = include  # whether the stop string itself is let through
        self._held = ""

    def push(self, text: str, *, match: bool = True) -> tuple[str, bool]:
        """Take more text; return (text that is certain, whether a stop string was met).

        After a match the rest is lost, and nothing more should come. Without `match`, a stop string may not end in this
        text, but may begin in it.
        """
        if not self._stops:
            return text, False
        text = self._held + text
        found = [(place + len(stop), place) for stop in self._stops if match and (place := text.find(stop)) >= 0]
        if found:
            self._held = ""
            return text[: min(found)[not self._include]], True
        keep = max(self._overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def flush(self) -> str:
        """Return what is held back; no more text comes."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """Return the length of the longest end of `text` that begins `stop`."""
        for length in range(min(len(stop) - 1, len(text)), 0, -1):
            if text.endswith(stop[:length]):
                return length
        return 0
