"""The plan that `make model` prints before it starts."""

import subprocess
from pathlib import Path

import pytest

from generation.config import ROOT


def plan(model: str, out: str, installed: Path) -> str:
    script = ROOT / "scripts" / "model-plan.sh"
    return subprocess.run([script, model, out, installed], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    (tmp_path / "installed").touch()
    return tmp_path / "installed"


def test_a_model_of_the_hub_is_downloaded(installed: Path) -> None:
    said = plan("someone/model", "", installed)

    assert said.startswith("make model: exports someone/model to models/model\n")
    assert "downloads someone/model from the Hugging Face hub" in said
    assert "installs" not in said


def test_a_folder_is_not_downloaded(tmp_path: Path, installed: Path) -> None:
    said = plan(str(tmp_path), "models/mine", installed)

    assert said.startswith(f"make model: exports {tmp_path} to models/mine\n")
    assert "downloads nothing" in said


def test_an_adapter_may_need_its_model(tmp_path: Path, installed: Path) -> None:
    (tmp_path / "adapter_config.json").touch()

    assert "downloads the model that the adapter" in plan(str(tmp_path), "", installed)


def test_what_is_not_installed_is_named(tmp_path: Path) -> None:
    assert f"installs torch, transformers and other packages of the export into {tmp_path}" in plan(
        "someone/model", "", tmp_path / "installed"
    )
