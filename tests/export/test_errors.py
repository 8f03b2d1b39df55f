import pytest

from generation.export.errors import in_one_line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("\n  no such layer\nat line 3\n"), "no such layer at line 3"),
        (EOFError(), "EOFError"),
        (ValueError("known are " + "'Tokenizer', " * 100), "known are " + "'Tokenizer', " * 13 + "'Tokenizer', ..."),
    ],
    ids=["several lines", "nothing", "a list of all"],
)
def test_one_line_of_what_a_library_says(error: Exception, said: str) -> None:
    assert in_one_line(error) == said
