"""What can go wrong in an export in a way that the user can mend."""

from generation.config import how_to_install


class ExportError(Exception):
    """An export that cannot go on. The message is for the user: what is wrong, and what to do about it."""


def missing_package(error: ImportError) -> str:
    """Return a message for an environment that lacks a package of the export."""
    return f"{error}. The export has its own packages: {how_to_install('export')}"
