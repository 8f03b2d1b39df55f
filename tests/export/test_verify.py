import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from generation.export import external
from generation.export.checkpoint import Checkpoint
from generation.export.defaults import Precision
from generation.export.errors import ExportError
from generation.export.products import EMBEDDING
from generation.export.verify import EVALUATION_TEXT, Perplexity, Report, judge, verify


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


def test_a_tie_is_not_a_difference(fp32: Report) -> None:
    judge(replace(fp32, greedy=replace(fp32.greedy, agreement=0.99, largest_margin=1e-5)))


def test_another_choice_is_a_difference(fp32: Report) -> None:
    with pytest.raises(ExportError, match="greedy agreement 99"):
        judge(replace(fp32, greedy=replace(fp32.greedy, agreement=0.99, largest_margin=0.1)))


def test_a_reference_that_differs_is_refused(int8: Report) -> None:
    with pytest.raises(ExportError, match="reference export differs"):
        judge(replace(int8, reference_logit_difference=0.1))


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_not_a_number_is_refused(precision: Precision, fp32: Report) -> None:
    nan = float("nan")
    spoiled = replace(
        fp32,
        precision=precision,
        largest_logit_difference=nan,
        perplexity=replace(fp32.perplexity, artifact=nan, change=nan),
    )

    with pytest.raises(ExportError):
        judge(spoiled, allow_loss=True)


def test_int8_that_costs_too_much_is_refused_unless_allowed(int8: Report) -> None:
    lossy = replace(int8, perplexity=Perplexity(checkpoint=40, artifact=41.6, change=0.04))

    with pytest.raises(ExportError, match=r"\+4\.0% perplexity.*40\.00 -> 41\.60.*--allow-loss"):
        judge(lossy)
    judge(lossy, allow_loss=True)


def test_int4_may_cost_more(int8: Report) -> None:
    lossy = replace(int8, precision="int4", perplexity=Perplexity(checkpoint=40, artifact=43.6, change=0.09))

    judge(lossy)
    with pytest.raises(ExportError, match=r"int4 would cost \+11\.0%.*more than 10%. Use int8 or fp32"):
        judge(replace(lossy, perplexity=Perplexity(checkpoint=40, artifact=44.4, change=0.11)))


def test_the_evaluation_text_is_long_enough_for_real_tokenizers() -> None:
    # A real tokenizer makes a token of four or five characters; the longest prompt and several windows must fit.
    assert len(EVALUATION_TEXT.read_text(encoding="utf-8")) > 6000
