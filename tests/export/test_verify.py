import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from generation.export import external
from generation.export.checkpoint import Checkpoint
from generation.export.errors import ExportError
from generation.export.products import EMBEDDING
from generation.export.report import Report, judge
from generation.export.verify import EVALUATION_TEXT, verify


@pytest.fixture(scope="module")
def fp32(checkpoint: Checkpoint, reference: Path, artifacts: dict[str, Path]) -> Report:
    return verify(checkpoint, reference, artifacts["fp32"])


@pytest.fixture(scope="module")
def int8(checkpoint: Checkpoint, reference: Path, artifacts: dict[str, Path]) -> Report:
    return verify(checkpoint, reference, artifacts["int8"])


def test_fp32_is_the_function_of_the_checkpoint(fp32: Report) -> None:
    judge(fp32)

    assert fp32.largest_logit_difference < 1e-3
    assert fp32.reference_logit_difference < 1e-3
    assert (fp32.greedy.agreement, fp32.greedy.steps, fp32.greedy.prompts) == (1.0, 64, 4)
    assert abs(fp32.perplexity.change) < 1e-5


def test_int8_of_a_random_checkpoint_passes(int8: Report) -> None:
    judge(int8)

    assert 0 < int8.largest_logit_difference
    assert int8.greedy.agreement > 0.5
    assert int8.greedy.batch_difference == 0


def test_perplexity_is_that_of_the_checkpoint(checkpoint: Checkpoint, fp32: Report) -> None:
    ids = checkpoint.tokenizer.encode(EVALUATION_TEXT.read_text(encoding="utf-8")).ids
    nats: list[torch.Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(ids), 256):
            window = torch.tensor([ids[start : start + 256]])
            logits = checkpoint.model(window).logits[0, :-1].double()
            nats.append(torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="none"))

    assert fp32.perplexity.checkpoint == pytest.approx(torch.cat(nats).mean().exp().item(), rel=1e-5)


def test_a_graph_with_one_wrong_parameter_is_refused(
    checkpoint: Checkpoint, reference: Path, artifacts: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(artifacts["fp32"], tmp_path / "wrong"))
    model = onnx.load(folder / "model.onnx")
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "transformer.h.1.mlp.c_proj.bias")
    # One element: the final norm takes away whatever is added to all.
    bias.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(bias) + np.eye(128, dtype=np.float32)[0] / 10, bias.name)
    )
    external.save(model, folder / "model.onnx", folder / "model.onnx.data", EMBEDDING)
    config = json.loads((folder / "config.json").read_text())
    config["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in config["files"]}
    (folder / "config.json").write_text(json.dumps(config))

    with pytest.raises(ExportError, match="fp32 graph differs from PyTorch"):
        judge(verify(checkpoint, reference, folder))


def test_the_evaluation_text_is_long_enough_for_real_tokenizers() -> None:
    # A real tokenizer makes a token of four or five characters; the longest prompt and several windows must fit.
    assert len(EVALUATION_TEXT.read_text(encoding="utf-8")) > 6000
