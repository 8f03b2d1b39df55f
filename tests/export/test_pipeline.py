import hashlib
import json
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import onnx
import pytest
from tokenizers import Tokenizer

from generation.export import pipeline
from generation.export.checkpoint import Checkpoint
from generation.export.defaults import DEFAULT_CACHES, PRECISIONS, Precision
from generation.export.errors import ExportError
from generation.export.pipeline import export
from generation.export.report import PERPLEXITY_LIMITS, Report
from generation.export.verify import EVALUATION_TEXT
from generation.model.artifact import CHECKED_FILES, FORMAT
from tests.support.checkpoints import CONTEXT, VOCABULARY, write_checkpoint


@pytest.fixture(scope="module", params=PRECISIONS)
def exported(
    request: pytest.FixtureRequest, checkpoint_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Precision, Path, Report, list[str]]:
    stages: list[str] = []
    output = tmp_path_factory.mktemp("exported") / "out"
    report = export(str(checkpoint_folder), output, request.param, progress=stages.append)
    return request.param, output, report, stages


def test_the_folder_holds_the_artifact_and_nothing_else(exported: tuple[Precision, Path, Report, list[str]]) -> None:
    _, output, _, _ = exported

    found = sorted(path.name for path in output.iterdir())
    assert found == ["config.json", "model.onnx", "model.onnx.data", "report.json", "tokenizer.json"]
    assert [path.name for path in output.parent.iterdir()] == ["out"]


def test_the_configuration_is_the_contract(
    exported: tuple[Precision, Path, Report, list[str]], checkpoint: Checkpoint
) -> None:
    precision, output, _, _ = exported

    assert json.loads((output / "config.json").read_text()) == {
        "format": FORMAT,
        "model_type": "gpt2",
        "layers": 2,
        "heads": 4,
        "head_size": 32,
        "width": 128,
        "vocabulary": VOCABULARY,
        "tokens": VOCABULARY,
        "holes": [],
        "context": CONTEXT,
        "ends_of_text": [VOCABULARY - 1],
        "begin_of_text": VOCABULARY - 1,
        "special_tokens": dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
        "chat_template": None,
        "precision": precision,
        "cache": DEFAULT_CACHES[precision],
        "files": {name: hashlib.sha256((output / name).read_bytes()).hexdigest() for name in CHECKED_FILES},
        "source": {"model": "small", "revision": None, "weights_sha256": checkpoint.weights_sha256},
        "tools": {
            "python": sys.version.split()[0],
            "torch": version("torch"),
            "transformers": version("transformers"),
            "optimum": version("optimum-onnx"),
            "onnx": version("onnx"),
            "onnxruntime": version("onnxruntime"),
        },
    }


def test_the_report_is_what_was_measured(exported: tuple[Precision, Path, Report, list[str]]) -> None:
    precision, output, report, _ = exported

    assert json.loads((output / "report.json").read_text()) == asdict(report)
    assert report.precision == precision


def test_the_tokenizer_is_that_of_the_checkpoint(
    exported: tuple[Precision, Path, Report, list[str]], checkpoint: Checkpoint
) -> None:
    _, output, _, _ = exported
    text = EVALUATION_TEXT.read_text(encoding="utf-8")

    assert Tokenizer.from_file(str(output / "tokenizer.json")).encode(text).ids == checkpoint.tokenizer.encode(text).ids


def test_each_stage_is_announced(exported: tuple[Precision, Path, Report, list[str]]) -> None:
    precision, _, _, stages = exported
    calibrating = ["letting"] if precision == "int4" else []
    always = ["writing", "verifying", "putting"]

    assert [stage.split()[0] for stage in stages] == ["getting", "loading", "exporting", *calibrating, *always]


def test_an_artifact_that_fails_verification_does_not_appear(
    checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PERPLEXITY_LIMITS, "int8", -1.0)

    with pytest.raises(ExportError, match="int8 would cost"):
        export(str(checkpoint_folder), tmp_path / "out", "int8")
    assert not list(tmp_path.iterdir())


def _constant_scales(folder: Path) -> set[str]:
    """Return the names of the products whose activations have a constant scale in the graph."""
    names = [tensor.name for tensor in onnx.load(folder / "model.onnx", load_external_data=False).graph.initializer]
    return {name.removesuffix(".scale") for name in names if name.endswith(("c_attn.scale", "c_fc.scale"))}


def test_activations_of_layer_norms_have_constant_scales_in_int8(
    exported: tuple[Precision, Path, Report, list[str]],
) -> None:
    precision, output, report, _ = exported
    products = {f"transformer.h.{layer}.{name}" for layer in (0, 1) for name in ("attn.c_attn", "mlp.c_fc")}

    assert report.constant_scales == (precision in {"int8", "int8-blocks"})
    assert _constant_scales(output) == (products if report.constant_scales else set())


def test_constant_scales_that_cost_too_much_are_not_kept(
    checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MOST_CONSTANT", -1.0)
    stages: list[str] = []
    report = export(str(checkpoint_folder), tmp_path / "out", "int8", progress=stages.append)

    assert not report.constant_scales
    assert [stage for stage in stages if stage.startswith("note: constant scales cost")]
    assert not _constant_scales(tmp_path / "out")


def test_an_accepted_loss_is_kept(checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PERPLEXITY_LIMITS, "int8", -1.0)
    export(str(checkpoint_folder), tmp_path / "out", "int8", allow_loss=True)

    assert (tmp_path / "out" / "config.json").is_file()


def test_a_bad_output_is_found_before_the_long_work(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    stages: list[str] = []

    with pytest.raises(ExportError, match="is a file"):
        export("someone/model", tmp_path / "out", progress=stages.append)
    assert not stages


def test_an_unknown_precision(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="'fp16' is not one of fp32, int8"):
        export("someone/model", tmp_path / "out", "fp16")  # type: ignore[arg-type]


KILLED_IN_VERIFICATION = """
import os, signal, sys
from generation.export import pipeline

pipeline.verify = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
pipeline.export(sys.argv[1], sys.argv[2], "int8")
"""


def test_killed_in_the_middle_the_output_is_absent(checkpoint_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "-c", KILLED_IN_VERIFICATION, str(checkpoint_folder), str(output)]
    ended = subprocess.run(command, check=False, capture_output=True)
    assert ended.returncode == -9
    assert not output.exists()

    # The remains of the killed export do not disturb the next one.
    export(str(checkpoint_folder), output, "int8")
    assert (output / "config.json").is_file()


@pytest.mark.heavy
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_checkpoint_of_the_size_of_distilgpt2(tmp_path: Path, precision: Precision) -> None:
    folder = write_checkpoint(
        tmp_path / "distil",
        n_embd=768,
        n_layer=6,
        n_head=12,
        vocab_size=50257,
        n_positions=1024,
        initializer_range=0.02,
    )
    report = export(str(folder), tmp_path / "out", precision)

    size = sum(file.stat().st_size for file in (tmp_path / "out").glob("model.onnx*"))
    assert size < {"fp32": 330e6, "int8": 86e6, "int8-blocks": 88e6, "int4": 47e6}[precision]
    assert report.greedy.agreement == 1.0 or precision != "fp32"
    assert report.greedy.batch_difference == 0 or precision == "fp32"
