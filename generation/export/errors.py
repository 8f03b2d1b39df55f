"""Errors of an export that the user can fix."""

from textwrap import shorten

from generation.config import how_to_install

# In characters: some libraries list all that they know.
_LONGEST = 200


class ExportError(Exception):
    """The export cannot continue. The message tells the user what is wrong and what to do about it."""


def first_line(error: Exception) -> str:
    """Return the first line of what a library says, shortened; where it says nothing, the name of the error."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return shorten(said, _LONGEST, placeholder=" ...")


def missing_package(error: ImportError) -> str:
    """Return the message for an environment that lacks a package of the exporter."""
    return f"{error}. The export has its own packages: {how_to_install('export')}"
