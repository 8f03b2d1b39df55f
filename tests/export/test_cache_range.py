"""Folding the range of keys and values into the weights changes nothing but the numbers in the cache."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from generation.export.cache_range import LARGEST, Range, fold, measure
from generation.export.checkpoint import Checkpoint
from tests.export.test_graph import logits_of, parameters_of
from tests.support.checkpoints import VOCABULARY

IDS = np.random.default_rng(8).integers(0, VOCABULARY, 300).tolist()


@pytest.fixture(scope="module")
def folded(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with folded weights, in a model of its own."""
    parameters = fold(parameters_of(checkpoint), measure(checkpoint.model, IDS))
    model = type(checkpoint.model)(checkpoint.model.config).eval()
    state = {name: torch.from_numpy(array) for name, array in parameters.items()}
    model.load_state_dict(state, strict=False)
    return replace(checkpoint, model=model)


def test_the_function_is_the_same(checkpoint: Checkpoint, folded: Checkpoint) -> None:
    assert np.abs(logits_of(folded, IDS[:200]) - logits_of(checkpoint, IDS[:200])).max() < 1e-4


def test_what_was_seen_fits_an_int8_and_uses_it(folded: Checkpoint) -> None:
    for found in measure(folded.model, IDS):
        assert np.abs([found.lowest, found.highest]).max() <= LARGEST
        assert np.allclose(found.lowest, -found.highest, atol=0.01)
        assert found.highest.min() > LARGEST / 2


def test_every_context_is_measured(checkpoint: Checkpoint) -> None:
    first, whole = measure(checkpoint.model, IDS[:256]), measure(checkpoint.model, IDS)

    assert all((both.highest >= one.highest).all() for one, both in zip(first, whole, strict=True))
    assert any((both.highest > one.highest).any() for one, both in zip(first, whole, strict=True))


def test_a_channel_that_never_moves_is_left_in_the_middle(checkpoint: Checkpoint) -> None:
    width = checkpoint.shape.width
    still = Range(np.ones((2, width), np.float32), np.ones((2, width), np.float32))
    parameters = parameters_of(checkpoint)
    bias = fold(parameters, [still])["transformer.h.0.attn.c_attn.bias"]

    assert np.allclose(bias, parameters["transformer.h.0.attn.c_attn.bias"] - np.repeat([0, 1, 1], width))
