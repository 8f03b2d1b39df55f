"""Errors of an export that the user can fix."""

from generation.config import how_to_install


class ExportError(Exception):
    """The export cannot continue. The message tells the user what is wrong and what to do about it."""


def missing_package(error: ImportError) -> str:
    """Return the message for an environment that lacks a package of the exporter."""
    return f"{error}. The export has its own packages: {how_to_install('export')}"
