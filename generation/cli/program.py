"""The program as a whole: its name, its exit statuses, the layout of its help, and its streams."""

import argparse
import contextlib
import io
import os
import sys
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

PROGRAM = "distilgpt2-functions"  # the console script that a wheel installs: pyproject.toml
OK, FAILURE, USER_ERROR, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """The call, a setting or the model is wrong. The command ends with `USER_ERROR`; the message says why."""


def program() -> list[str]:
    """Return the words with which the user called this program."""
    return [PROGRAM] if Path(sys.argv[0]).stem == PROGRAM else ["python", "-m", "generation"]


class HelpFormatter(argparse.HelpFormatter):
    """Wraps the usage and the text around the options to the terminal.

    Lines that are indented by exactly two spaces are examples to copy, and stay whole.
    """

    def _format_usage(self, *arguments: Any) -> str:
        text = " ".join(super()._format_usage(*arguments).split())
        return textwrap.fill(text, max(self._width, 11), subsequent_indent="  ", break_on_hyphens=False) + "\n\n"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts: list[str] = []
        for margin, lines in groupby(text.splitlines(), lambda line: line[: len(line) - len(line.lstrip())]):
            for is_blank, block in groupby(lines, lambda line: not line):
                if is_blank or margin == "  ":
                    parts += block
                else:
                    paragraph, room = " ".join(line.strip() for line in block), max(width - len(margin), 11)
                    wrapped = textwrap.wrap(paragraph, room, break_on_hyphens=False)
                    parts += (indent + margin + line for line in wrapped)
        return "\n".join(parts)


class Parser(argparse.ArgumentParser):
    """A parser that reports errors of writing its help, which argparse ignores."""

    def _print_message(self, message: str, file: Any = None) -> None:
        print(message, end="", file=file or sys.stderr)


@contextlib.contextmanager
def live_line(*, shown: bool) -> Iterator[None]:
    """End the line that the block prints piece by piece, if Ctrl-C ends the block and standard output needs that."""
    import asyncio

    try:
        yield
    except asyncio.CancelledError:
        if shown and not (sys.stdout.isatty() and sys.stderr.isatty()):  # on a terminal, one line break is enough
            print(flush=True)
        raise


def open_streams() -> None:
    """Make standard streams usable that the caller has closed, or whose encoding lacks characters.

    A character that the encoding of standard output lacks is written as a backslash escape, as Python does on standard
    error.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - for the whole process
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and out.encoding.lower().replace("-", "") != "utf8":
        out.reconfigure(errors="backslashreplace")


def unwritable(error: OSError) -> str:
    """Return the message for an error of writing standard output."""
    return f"standard output cannot be written: {error.strerror}"


def flush_output(status: int) -> int:
    """Flush standard output; return `status`, or `FAILURE` in place of `OK` if its reader or its disk fails.

    A reader that closes a pipe early, as `head` does, is no reason for a message.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        # Otherwise Python tries again at exit, and reports the error with a traceback.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if status == OK and not isinstance(error, BrokenPipeError):
            print(f"error: {unwritable(error)}", file=sys.stderr)
        return status or FAILURE
    return status


def end_line() -> None:
    """End the line on which the terminal has printed ``^C``."""
    if sys.stderr.isatty():
        print(file=sys.stderr)
