import copy
import io
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from tqdm import tqdm

from generation.export import moments
from generation.export.cache_range import fold
from generation.export.cache_range import measure as measure_range
from generation.export.checkpoint import Checkpoint
from generation.export.errors import ExportError
from generation.export.moments import measure, write_texts
from generation.export.products import HEAD
from tests.export.test_graph import IDS, parameters_of
from tests.support.checkpoints import VOCABULARY

FIRST = "transformer.h.0.attn.c_attn"


def test_every_product_has_its_moments(checkpoint: Checkpoint) -> None:
    found = measure(checkpoint.model, parameters_of(checkpoint), [IDS])

    wide = {name for name, sums in found.items() if sums.shape == (512, 512)}
    assert wide == {f"transformer.h.{layer}.mlp.c_proj" for layer in (0, 1)}
    assert {sums.shape for name, sums in found.items() if name not in wide} == {(128, 128)}
    assert len(found) == 2 * 4 + 1


def test_moments_are_sums_over_every_token(checkpoint: Checkpoint) -> None:
    with torch.inference_mode():
        hidden = checkpoint.model.transformer(torch.tensor([IDS])).last_hidden_state[0]
    one, both = (measure(checkpoint.model, parameters_of(checkpoint), [IDS] * times)[HEAD] for times in (1, 2))

    assert np.allclose(one, (hidden.T @ hidden).numpy(), rtol=1e-3, atol=1e-2)
    assert np.allclose(both, 2 * one, rtol=1e-5)


def test_the_model_computes_with_the_parameters_that_are_given(checkpoint: Checkpoint) -> None:
    parameters = parameters_of(checkpoint)
    folded = fold(parameters, measure_range(checkpoint.model, IDS))
    plain, other = (measure(checkpoint.model, form, [IDS]) for form in (parameters, folded))

    # Values are in other units, and all that is not made of them alone is as before.
    assert np.allclose(other[FIRST], plain[FIRST], rtol=1e-4)
    assert np.allclose(other[HEAD], plain[HEAD], rtol=1e-2, atol=0.5)
    name = "transformer.h.0.attn.c_proj"
    assert other[name].diagonal().mean() > 10 * plain[name].diagonal().mean()


def test_a_checkpoint_writes_the_same_texts_again_and_leaves_randomness_alone(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "TOKENS", 32)
    torch.manual_seed(1)
    texts = write_texts(checkpoint.model, VOCABULARY - 1)
    after = torch.rand(1)
    torch.manual_seed(1)

    assert torch.equal(after, torch.rand(1))
    assert texts.shape == (moments.TEXTS, 32)
    assert len({tuple(text) for text in texts.tolist()}) == moments.TEXTS
    assert torch.equal(texts, write_texts(checkpoint.model, VOCABULARY - 1))


def test_writing_shows_its_progress(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[tqdm[NoReturn]] = []

    def shown(**options: Any) -> "tqdm[NoReturn]":
        bars.append(tqdm(**options | {"disable": False, "file": io.StringIO()}))
        return bars[-1]

    monkeypatch.setattr(moments, "TOKENS", 8)
    monkeypatch.setattr(moments, "tqdm", shown)
    write_texts(checkpoint.model, VOCABULARY - 1)

    assert [(bar.n, bar.total) for bar in bars] == [(7, 7)]


def test_a_checkpoint_that_cannot_write_is_refused(checkpoint: Checkpoint) -> None:
    model = copy.deepcopy(checkpoint.model)
    with torch.no_grad():
        model.get_parameter("transformer.h.0.mlp.c_fc.bias")[0] = torch.nan

    with pytest.raises(ExportError, match="cannot write, its weights may be damaged"):
        write_texts(model, VOCABULARY - 1)
