"""A widened checkpoint computes the logits of the small one, and its added tokens are never chosen."""

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config

from benchmarks.widen import write
from generation.export import hub
from generation.export.checkpoint import load
from tests.support.checkpoints import CONTEXT, VOCABULARY, write_checkpoint

SMALL: dict[str, object] = {"n_embd": 32, "n_head": 2}
WIDE: dict[str, int] = {"n_layer": 2, "n_embd": 128, "n_head": 4, "n_positions": 400, "vocab_size": 500}


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"n_inner": 64, "activation_function": "relu"},
    ],
)
def test_the_logits_stay_the_same(tmp_path: Path, flags: dict[str, object]) -> None:
    source, folder = write_checkpoint(tmp_path / "small", **SMALL, **flags), tmp_path / "wide"
    write(source, folder, GPT2Config(**WIDE))
    wide = load(hub.find(str(folder)))
    assert {name: getattr(wide.model.config, name) for name in WIDE} == WIDE
    assert wide.shape.inner == 4 * 128
    assert wide.tied
    # The exporter takes the added rows for padding.
    assert wide.tokens.tokens == VOCABULARY
    assert wide.tokens.ends_of_text == (VOCABULARY - 1,)
    small = load(hub.find(str(source))).model
    ids = torch.randint(VOCABULARY, (4, CONTEXT), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = small(ids).logits, wide.model(ids).logits
    assert expected.std() > 1  # so that the tolerance is a strict one
    assert (found[..., :VOCABULARY] - expected).abs().max() < 1e-3
    assert (found[..., VOCABULARY:].amax(dim=-1) < found[..., :VOCABULARY].amin(dim=-1)).all()


@pytest.mark.parametrize(
    ("wide", "message"),
    [
        ({"n_layer": 3}, "has 2 layers, wanted are 3"),
        ({"n_embd": 144}, "from width 32 to 144: wanted is a multiple"),
        ({"n_embd": 64}, "by 3 or more"),
        ({"n_inner": 300}, "the inner width 300 is no multiple of 128"),
        ({"n_embd": 96, "n_head": 3}, "2 heads of 16 to 3 of 32"),
        ({"n_head": 16}, "2 heads of 16 to 16 of 8"),
        ({"n_positions": 100}, "must not become smaller"),
        ({"vocab_size": 100}, "must not become smaller"),
    ],
)
def test_sizes_that_do_not_fit_are_rejected(tmp_path: Path, wide: dict[str, int], message: str) -> None:
    source = write_checkpoint(tmp_path / "small", **SMALL)
    with pytest.raises(ValueError, match=message):
        write(source, tmp_path / "wide", GPT2Config(**(WIDE | wide)))
    assert [one.name for one in tmp_path.iterdir()] == ["small"]


def test_a_head_of_its_own_is_rejected(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "small", **SMALL, tie_word_embeddings=False)
    with pytest.raises(ValueError, match="is not its embedding table"):
        write(source, tmp_path / "wide", GPT2Config(**WIDE))
