"""Errors of an export that the user can fix."""

from textwrap import shorten

from generation.config import how_to_install

# In characters: some libraries list all that they know.
_LONGEST = 200


class ExportError(Exception):
    """The export cannot continue. The message tells the user what is wrong and what to do about it."""


def in_one_line(error: BaseException) -> str:
    """Return what a library says in one line, shortened; where it says nothing, the name of the error."""
    return shorten(str(error), _LONGEST, placeholder=" ...") or type(error).__name__


def missing_package(error: ImportError) -> str:
    """Return the message for an environment that lacks a package of the exporter."""
    return f"{error}. The export has its own packages: {how_to_install('export')}"
