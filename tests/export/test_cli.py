import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from generation.config import ROOT
from generation.export import pipeline
from generation.export.__main__ import main
from generation.export.errors import ExportError


def refuse(*_: object, **__: object) -> None:
    raise ExportError("the model could not be had")


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_an_export_from_the_command_line(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(checkpoint_folder), str(tmp_path / "out"), "--precision", "fp32"]) == 0

    said = capsys.readouterr()
    assert "greedy agreement          100.0% of 64 steps" in said.out
    assert "verifying it against PyTorch ..." in said.err
    assert (tmp_path / "out" / "config.json").is_file()


def test_a_user_error_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pipeline, "export", refuse)

    assert main([]) == 2
    said = capsys.readouterr()
    assert said.err.endswith("error: the model could not be had\n")
    assert not said.out


def test_ctrl_c_is_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(pipeline, "export", interrupt)

    assert main([]) == 130
    assert "the output is as it was" in capsys.readouterr().err


WITHOUT_TORCH = """
import runpy, sys

sys.modules["torch"] = None
module, *arguments = sys.argv[1:]
sys.argv = [module, *arguments]
runpy.run_module(module, run_name="__main__")
"""


@pytest.mark.parametrize(
    "command",
    [
        ["generation.export", "models/demo/checkpoint"],
        ["generation.export.train", "README.md", "models/none"],
        ["generation.export.perplexity", "models/demo/checkpoint", "README.md", "models/demo"],
    ],
    ids=str,
)
def test_without_its_packages_a_command_says_what_to_install(command: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 2
    assert "The export has its own packages: pip install --group export" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "model", "output", "options"),
    [
        ([], "distilbert/distilgpt2", "models/distilgpt2", {}),
        (["someone/model"], "someone/model", "models/model", {}),
        (["someone/model", "here", "--revision", "v1"], "someone/model", "here", {"revision": "v1"}),
        (["m", "o", "--allow-loss"], "m", "o", {"allow_loss": True}),
        (
            ["m", "--adapter", "x/lora", "--allow-unread"],
            "m",
            "models/lora",
            {"adapter": "x/lora", "allow_unread": True},
        ),
    ],
    ids=str,
)
def test_arguments_reach_the_export(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], model: str, output: str, options: dict[str, Any]
) -> None:
    calls: list[Any] = []

    def record(*positional: object, **named: object) -> None:
        calls.append((positional, named))
        raise ExportError("enough")

    monkeypatch.setattr(pipeline, "export", record)
    main(arguments)

    ((positional, named),) = calls
    assert positional == (model, Path(output), "int8")
    assert named | options == named
    assert named["revision"] == options.get("revision")


@pytest.mark.parametrize("arguments", [["--precision", "fp16"], ["a", "b", "c"]], ids=str)
def test_arguments_that_make_no_sense_are_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "examples:" in said
    assert "LoRA adapter" in said
    assert "int8 3 %, int4 10 %" in said
