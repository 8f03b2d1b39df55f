"""Smoothing activations changes nothing but their sizes, and their scale covers what calibration saw."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from generation.export.activation_scales import MARGIN, measure, smooth
from generation.export.checkpoint import Checkpoint
from generation.export.quantize import LARGEST
from tests.export.test_graph import logits_of, parameters_of
from tests.support.checkpoints import VOCABULARY

IDS = np.random.default_rng(9).integers(0, VOCABULARY, 300).tolist()
NORM, PRODUCT = "transformer.h.0.ln_2", "transformer.h.0.mlp.c_fc"


@pytest.fixture(scope="module")
def uneven(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with one channel of a LayerNorm fifty times as large as the others."""
    model = type(checkpoint.model)(checkpoint.model.config).eval()
    model.load_state_dict(checkpoint.model.state_dict())
    with torch.no_grad():
        model.get_submodule(NORM).weight[3] *= 50
        model.get_submodule(PRODUCT).weight[3] /= 50
    return replace(checkpoint, model=model)


@pytest.fixture(scope="module")
def smoothed(uneven: Checkpoint) -> Checkpoint:
    parameters, _ = smooth(parameters_of(uneven), measure(uneven.model, IDS))
    model = type(uneven.model)(uneven.model.config).eval()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in parameters.items()}, strict=False)
    return replace(uneven, model=model)


def test_the_function_is_the_same(uneven: Checkpoint, smoothed: Checkpoint) -> None:
    assert np.abs(logits_of(smoothed, IDS[:200]) - logits_of(uneven, IDS[:200])).max() < 1e-4


def test_an_outstanding_channel_is_evened_out(uneven: Checkpoint, smoothed: Checkpoint) -> None:
    before, after = (measure(one.model, IDS)[NORM] for one in (uneven, smoothed))

    assert before.max() > 20 * np.median(before)
    assert after.max() < 5 * np.median(after)


def test_the_scales_cover_what_was_seen(uneven: Checkpoint, smoothed: Checkpoint) -> None:
    _, scales = smooth(parameters_of(uneven), measure(uneven.model, IDS))

    assert scales.keys() == {
        f"transformer.h.{layer}.{name}" for layer in (0, 1) for name in ("attn.c_attn", "mlp.c_fc")
    }
    assert scales[PRODUCT] * LARGEST == pytest.approx(MARGIN * measure(smoothed.model, IDS)[NORM].max(), rel=1e-4)


def test_every_context_is_measured(checkpoint: Checkpoint) -> None:
    first, whole = measure(checkpoint.model, IDS[:256]), measure(checkpoint.model, IDS)

    assert all((whole[name] >= first[name]).all() for name in first)
    assert any((whole[name] > first[name]).any() for name in first)


def test_a_channel_that_is_always_0_or_never_read_stays(checkpoint: Checkpoint) -> None:
    parameters = parameters_of(checkpoint)
    weight = parameters[f"{PRODUCT}.weight"] = parameters[f"{PRODUCT}.weight"].copy()
    weight[1] = 0
    largest = np.linspace(1, 2, checkpoint.shape.width, dtype=np.float32)
    largest[0] = 0

    changed, _ = smooth(parameters, {NORM: largest})
    assert np.array_equal(changed[f"{NORM}.weight"][:2], parameters[f"{NORM}.weight"][:2])
    assert np.array_equal(changed[f"{PRODUCT}.weight"][:2], weight[:2])


def test_activations_that_are_always_0_have_a_scale(checkpoint: Checkpoint) -> None:
    _, scales = smooth(parameters_of(checkpoint), {NORM: np.zeros(checkpoint.shape.width, np.float32)})

    assert scales == {PRODUCT: 1.0}
