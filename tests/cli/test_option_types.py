"""Values that options accept, and their parsed results."""

import pytest

from generation.cli.option_types import stop_string


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(r"\n", "\n"), (r"\t", "\t"), (r"\\n", r"\n"), (r"a\n\nb", "a\n\nb"), (r"\d", r"\d"), ("\\", "\\"), ("\n", "\n")],
)
def test_escapes_in_stop_strings(typed: str, meant: str) -> None:
    assert stop_string(typed) == meant
