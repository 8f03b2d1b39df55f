"""Texts that the exporter samples or reads to make a draft table."""

from pathlib import Path

import numpy as np
import pytest

from generation.export import sampling
from generation.export.sampling import Manner
from generation.model.model import Model
from generation.model.opening import open_artifact

ROWS = 4


@pytest.fixture(scope="module")
def model(artifacts: dict[str, Path]) -> Model:
    return open_artifact(artifacts["int8"], 2).model(batch=ROWS, staging=1, chunk=16)


def test_texts_begin_at_the_beginning_and_are_as_many_as_asked(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "LENGTH", 8)
    told: list[int] = []
    texts = sampling.write(model, [Manner()] * 6, done=told.append)
    assert texts.ids.shape == (6, 8)
    assert set(texts.ids[:, 0].tolist()) == {model.config.begin_of_text}
    assert len(np.unique(texts.ids, axis=0)) == 6
    assert told == [ROWS * 8, 6 * 8]


def test_the_same_seed_writes_the_same_texts(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "LENGTH", 8)
    first, again, other = (sampling.write(model, [Manner()] * 2, seed=seed).ids for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_greedy_takes_the_likeliest_token_after_the_opening(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "LENGTH", 16)
    texts = sampling.write(model, [Manner(0.0, opening=4)] * 3)
    assert (texts.ids[:, 4:] == texts.likeliest[:, 3:-1, 0]).all()
    assert (texts.ids[:, 1:4] != texts.likeliest[:, :3, 0]).any()


def test_chances_are_those_of_the_model(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "LENGTH", 4)
    texts = sampling.write(model, [Manner()])
    logits = np.sort(model.decode([[model.config.begin_of_text]], [0])[0])[::-1][: sampling.TOP_K]  # type: ignore[list-item]
    expected = np.exp(logits - logits[0])
    assert texts.chances[0, 0] == pytest.approx((expected / expected.sum())[: sampling.KEPT], rel=1e-5)


def test_a_text_is_read_in_pieces_of_one_length(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "LENGTH", 4)
    texts = sampling.read(model, list(range(10, 20)))
    assert texts.ids.tolist() == [[10, 11, 12, 13], [14, 15, 16, 17]]
    monkeypatch.setattr(sampling, "LENGTH", 100)
    assert sampling.read(model, [1, 2, 3]).ids.tolist() == [[1, 2, 3]]


def test_a_model_without_a_beginning_starts_from_any_token(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(sampling, "LENGTH", 2)
    monkeypatch.setattr(model, "config", replace(model.config, begin_of_text=None))
    assert len(set(sampling.write(model, [Manner()] * 12).ids[:, 0].tolist())) > 3
