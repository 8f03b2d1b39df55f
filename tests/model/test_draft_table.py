"""The draft table: the longest known context is used, and a damaged or foreign file is harmless."""

from pathlib import Path

import numpy as np
import pytest

from generation.config import Settings
from generation.model.artifact import DRAFTS, ArtifactError, read_config
from generation.model.draft_table import FACTOR, KEY_SHIFT, LARGEST, MAGIC, TOKEN_BITS, WORD, DraftTable, open_drafts

TOKENS = 400


def _entry(context: list[int], token: int, level: int = 8) -> int:
    """Return an entry, packed according to the description of the file format."""
    hashed = 0
    for one in reversed(context):
        hashed = (hashed ^ (hashed >> 31) ^ (one + 1)) * FACTOR & WORD
    return hashed >> KEY_SHIFT << KEY_SHIFT | level << TOKEN_BITS | token


def _table(path: Path, *entries: int) -> DraftTable:
    path.write_bytes(MAGIC + np.sort(np.array(entries, np.uint64)).astype("<u8").tobytes())
    return DraftTable(path, TOKENS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / DRAFTS


def test_the_longest_known_context_wins(file: Path) -> None:
    table = _table(file, _entry([4], 10), _entry([3, 4], 11), _entry([1, 2, 3, 4], 12))
    assert [table.guess(context)[0] for context in ([4], [9, 4], [3, 4], [2, 3, 4], [0, 1, 2, 3, 4])] == [  # type: ignore[index]
        10, 10, 11, 11, 12,
    ]  # fmt: skip


def test_a_context_that_is_not_known_has_no_guess(file: Path) -> None:
    table = _table(file, _entry([3, 4], 11))
    assert [table.guess(context) for context in ([], [4], [4, 3], [3, 5])] == [None] * 4


def test_an_empty_table_knows_nothing(file: Path) -> None:
    table = _table(file)
    assert (len(table), table.guess([1, 2, 3])) == (0, None)


def test_the_chance_is_the_middle_of_its_level(file: Path) -> None:
    table = _table(file, _entry([1], 5, level=0), _entry([2], 5, level=15))
    assert [table.guess([token]) for token in (1, 2)] == [(5, 0.5 / 16), (5, 15.5 / 16)]


def test_a_token_that_the_model_does_not_have_is_not_guessed(file: Path) -> None:
    table = _table(file, _entry([1], TOKENS - 1), _entry([2], TOKENS), _entry([3], (1 << TOKEN_BITS) - 1))
    assert [table.guess([token]) is None for token in (1, 2, 3)] == [False, True, True]


@pytest.mark.parametrize(
    "content",
    [b"", MAGIC[:-1], MAGIC + b"1234567", b"x" * 800, MAGIC + bytes(LARGEST)],
    ids=["empty", "cut", "half an entry", "another file", "too large"],
)
def test_what_is_no_draft_table_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"drafts\.bin .*; export the model again"):
        DraftTable(file, TOKENS)


def test_a_missing_file_is_refused(file: Path) -> None:
    with pytest.raises(ArtifactError, match=r"drafts\.bin cannot be read"):
        DraftTable(file, TOKENS)


def test_entries_in_disorder_are_searched_in_bounded_time_and_guess_tokens_of_the_model(file: Path) -> None:
    random = np.random.default_rng(0)
    file.write_bytes(MAGIC + random.integers(0, 1 << 63, 5000, dtype=np.uint64).tobytes())
    table = DraftTable(file, TOKENS)
    found = [table.guess(random.integers(0, TOKENS, 4).tolist()) for _ in range(2000)]
    assert all(guess is None or guess[0] < TOKENS for guess in found)


def test_an_artifact_without_a_table_has_none(artifacts: dict[str, Path]) -> None:
    assert open_drafts(artifacts["int8"], read_config(artifacts["int8"])) is None


def test_the_bundled_model_has_one() -> None:
    folder = Settings().model_dir
    table = open_drafts(folder, read_config(folder))
    assert table is not None
    assert len(table) > 1000
