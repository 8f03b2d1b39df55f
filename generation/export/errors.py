"""What can go wrong in an export in a way that the user can mend."""


class ExportError(Exception):
    """An export that cannot go on. The message is for the user: what is wrong, and what to do about it."""
