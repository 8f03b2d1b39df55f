"""Find stop strings in streamed text."""

from collections.abc import Sequence


class StopMatcher:
    """Passes text on up to the first stop string, and holds back only a possible start of one.

    The first stop string is the one that is complete first; of several complete at the same character, the longest. The
    result therefore does not depend on how the text is split, and a complete stop string never waits for a longer one.
    """

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        self._stops = tuple(stops)
        self._include = include  # whether to pass on the stop string itself
        self._held = ""

    def push(self, text: str, *, match: bool = True) -> tuple[str, bool]:
        """Add text; return the text that can no longer change, and whether there was a stop string.

        After a match, the rest of the text is dropped, and there must be no further calls.

        Args:
            text: the next piece of text.
            match: whether a stop string may end in this piece. It may start in it in any case.
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
        """Return the text that is held back, at the end of the text."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """Return the length of the longest suffix of `text` that is a proper prefix of `stop`."""
        for length in range(min(len(stop) - 1, len(text)), 0, -1):
            if text.endswith(stop[:length]):
                return length
        return 0
