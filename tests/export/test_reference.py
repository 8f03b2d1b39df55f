from pathlib import Path

import numpy as np
import torch

from generation.export.checkpoint import Checkpoint
from generation.export.reference import export_reference, read_parameters, reference_logits


def test_every_parameter_is_found_by_its_checkpoint_name(checkpoint: Checkpoint, reference: Path) -> None:
    found = read_parameters(reference)

    for name, tensor in checkpoint.model.transformer.state_dict().items():
        assert np.array_equal(found[f"transformer.{name}"], tensor.numpy()), name


def test_parameters_that_share_a_tensor_are_found_under_each_name(checkpoint: Checkpoint, tmp_path: Path) -> None:
    model = type(checkpoint.model)(checkpoint.model.config)
    found = read_parameters(export_reference(model.eval(), tmp_path))

    # A fresh model has all its norms equal, and the exporter stores one of them.
    assert np.array_equal(found["transformer.h.1.ln_2.weight"], np.ones(128))
    assert set(found) >= {f"transformer.{name}" for name, _ in model.transformer.named_parameters()}


def test_the_reference_equals_pytorch(checkpoint: Checkpoint, reference: Path) -> None:
    ids = list(range(50))
    with torch.inference_mode():
        expected = checkpoint.model(torch.tensor([ids])).logits[0].numpy()

    assert np.abs(reference_logits(reference, checkpoint.shape, ids) - expected).max() < 1e-4
