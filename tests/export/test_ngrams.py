"""Draft tables made from texts: their guesses, chances and contexts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from generation.export import ngrams
from generation.export.ngrams import Texts
from generation.model.draft_table import LEVELS, MAGIC, DraftTable


def _texts(ids: Sequence[Sequence[int]], likeliest: dict[int, list[tuple[int, float]]]) -> Texts:
    """Return texts whose predictions depend only on the last token."""
    expected = [[likeliest.get(token, [(0, 0.0), (1, 0.0)]) for token in row] for row in ids]
    return Texts(
        np.array(ids),
        np.array([[[token for token, _ in one] for one in row] for row in expected]),
        np.array([[[chance for _, chance in one] for one in row] for row in expected], np.float32),
    )


def _table(tmp_path: Path, texts: Texts, limit: int = 10_000) -> DraftTable:
    path = tmp_path / "drafts.bin"
    path.write_bytes(ngrams.contents(ngrams.entries(texts, limit)))
    assert path.stat().st_size <= limit
    return DraftTable(path, 100)


def test_the_likeliest_token_is_guessed_not_the_one_that_was_drawn(tmp_path: Path) -> None:
    table = _table(tmp_path, _texts([[5, 9, 5, 9, 5, 9]], {5: [(7, 0.8), (9, 0.2)]}))
    guess = table.guess([5])
    assert guess is not None
    assert guess[0] == 7
    assert guess[1] == pytest.approx(0.8, abs=1 / LEVELS)


def test_a_longer_context_is_kept_where_it_says_something_else(tmp_path: Path) -> None:
    ids = [[1, 3, 8], [2, 3, 9]] * 20
    texts = _texts(ids, {})
    for row, first in enumerate(texts.ids[:, 0]):
        texts.likeliest[row, 1], texts.chances[row, 1] = ([8, 9], [0.9, 0.1]) if first == 1 else ([9, 8], [0.9, 0.1])
    table = _table(tmp_path, texts)
    assert [table.guess(context)[0] for context in ([1, 3], [2, 3])] == [8, 9]  # type: ignore[index]


def test_a_context_seen_once_follows_the_shorter_one_unless_it_is_sure(tmp_path: Path) -> None:
    texts = _texts([[1, 3, 8]] * 30 + [[2, 3, 8]], {3: [(8, 0.9), (9, 0.1)]})
    texts.likeliest[-1, 1], texts.chances[-1, 1] = [9, 8], [0.5, 0.4]
    assert _table(tmp_path, texts).guess([2, 3])[0] == 8  # type: ignore[index]


def test_contexts_stay_within_one_text(tmp_path: Path) -> None:
    table = _table(tmp_path, _texts([[1, 2], [3, 4]], {token: [(6, 0.6), (7, 0.1)] for token in range(5)}))
    assert table.guess([4]) is not None
    longer = [size for size in range(2, 4) if table.guess([9, 9, 2, 3][-size:]) != table.guess([3])]
    assert longer == []


def test_the_most_useful_contexts_are_kept(tmp_path: Path) -> None:
    often, seldom = [[1, 0]] * 50, [[2, 0]]
    texts = _texts(often + seldom, {1: [(5, 0.9), (6, 0.0)], 2: [(6, 0.9), (5, 0.0)]})
    table = _table(tmp_path, texts, limit=len(MAGIC) + 8)
    assert len(table) == 1
    assert table.guess([1]) is not None
    assert table.guess([2]) is None


def test_every_key_is_there_once() -> None:
    random = np.random.default_rng(0)
    ids = random.integers(0, 9, (20, 50))
    texts = Texts(ids, random.integers(0, 9, (20, 50, 4)), np.full((20, 50, 4), 0.25, np.float32))
    keys = ngrams.entries(texts, 1 << 20) >> np.uint64(28)
    assert len(np.unique(keys)) == len(keys) > 100
    assert (np.diff(keys.astype(np.int64)) > 0).all()
