"""Types of options: each turns the text of an option into its value, or raises with what is allowed."""

import argparse
import math
import re
from collections.abc import Callable

# Python's own conversions also accept 1_6, ١٦ and nan.
_WHOLE = re.compile(r"[+-]?[0-9]{1,100}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_ESCAPE = re.compile(r"\\([nt\\])")
_ESCAPED = {"n": "\n", "t": "\t", "\\": "\\"}
# Characters that an HTTP header transports unchanged.
KEY = re.compile(r"[!-~]+", re.ASCII)
KEY_ALLOWED = "a key consists of printable ASCII characters without spaces"


def whole(low: int | None = None, high: int | None = None) -> Callable[[str], int]:
    """Return the type of whole numbers, from `low` to `high` if given."""

    def parse(text: str) -> int:
        value = int(text) if _WHOLE.fullmatch(text) else None
        if value is None or (low is not None and value < low) or (high is not None and value > high):
            bounds = "" if low is None else f" from {low} to {high}"
            raise argparse.ArgumentTypeError(f"{text[:32]!r} is not a whole number{bounds}")
        return value

    return parse


def number(text: str) -> float:
    """Parse a decimal number."""
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text[:32]!r} is not a number")
    return value


def positive(most: float) -> Callable[[str], float]:
    """Return the type of decimal numbers above 0, up to `most`."""

    def parse(text: str) -> float:
        value = number(text)
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(f"{text[:32]!r} is not a number above 0 and up to {most:g}")
        return value

    return parse


def given(text: str) -> str:
    """Refuse an empty value, which an unset shell variable leaves behind."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it must not be empty")
    return text


def key(text: str) -> str:
    """Parse a function key or API key. No message shows it."""
    if not KEY.fullmatch(given(text)):
        raise argparse.ArgumentTypeError(KEY_ALLOWED)
    return text


def stop_string(text: str) -> str:
    r"""Parse a stop string, in which ``\n``, ``\t`` and ``\\`` stand for a line break, a tab and a backslash."""
    if not text:
        raise argparse.ArgumentTypeError("it must not be empty")
    return _ESCAPE.sub(lambda found: _ESCAPED[found[1]], text)
