"""The wheel: installed where there is no clone, its command serves the bundled model."""

import importlib.metadata
import os
import re
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.server import serve
from generation import __version__, config
from generation.cli.main import main
from generation.cli.program import PROGRAM
from generation.config import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CALL = ("generate", "Once upon a time", "--temperature", "0", "--max-new-tokens", "8")
# Through these the installed tool would find this clone.
PATHS = ("PYTHONPATH", "MODEL_DIR")


def _run(*command: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in PATHS}
    return subprocess.run(
        command, cwd=folder, env=clean | environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the backend in this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation")
    built = _run(*pip, "--wheel-dir", folder, ROOT, folder=folder)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel; the packages that it needs are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    done = _run(*pip, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    return folder / "bin"


def test_the_command_says_its_version_and_its_name(installed: Path, tmp_path: Path) -> None:
    assert _run(installed / PROGRAM, "--version", folder=tmp_path).stdout == f"{__version__}\n"
    said = _run(installed / PROGRAM, "--help", folder=tmp_path).stdout
    assert said.startswith(f"usage: {PROGRAM} ")
    assert f'{PROGRAM} generate "Once upon a time"' in said


def test_the_command_that_continues_a_batch_has_its_name(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("{}\n", encoding="utf-8")
    said = _run(installed / PROGRAM, "batch", "in", "out", "--url", "http://127.0.0.1:1/api", folder=tmp_path)
    assert f"To continue: {PROGRAM} batch in out --url" in said.stderr


def test_the_command_generates_what_a_clone_does(
    installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _run(installed / PROGRAM, *CALL, folder=tmp_path)
    assert main([*CALL]) == 0
    assert (said.stdout, said.stderr) == (capsys.readouterr().out, "")


def test_the_server_has_the_routes_and_the_page_of_a_clone(installed: Path, tmp_path: Path) -> None:
    with serve(python=str(installed / "python"), folder=tmp_path, PYTHONPATH="", AUTH_LEVEL="anonymous") as served:
        body = {"prompt": "Once upon a time", "max_new_tokens": 4}
        assert httpx.post(f"{served.url}/generate", json=body, timeout=60).status_code == 200
        assert httpx.get(f"{served.url}/playground", timeout=60).headers["content-type"].startswith("text/html")


def test_a_relative_model_folder_is_looked_for_where_the_command_runs(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(ROOT / "models" / "demo")
    assert _run(installed / PROGRAM, *CALL, folder=tmp_path, MODEL_DIR="mine").returncode == 0
    missing = _run(installed / PROGRAM, *CALL, folder=tmp_path, MODEL_DIR="none")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert f"no model in {tmp_path / 'none'}" in missing.stderr


def test_it_depends_on_the_packages_of_requirements_in(metadata: Message) -> None:
    lines = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    names = {re.split(r"[^\w-]", line)[0] for line in lines if line and not line.startswith("#")}
    needed = [one for one in metadata.get_all("Requires-Dist", []) if "extra ==" not in one]
    assert {re.split(r"[^\w-]", one)[0] for one in needed} == names
    assert len(needed) >= len(names) > 5


def test_its_extras_are_the_groups_of_those_names(metadata: Message) -> None:
    extras: dict[str, set[str]] = {name: set() for name in metadata.get_all("Provides-Extra", [])}
    for one in metadata.get_all("Requires-Dist", []):
        if extra := re.fullmatch(r"(.*); extra == '(\w+)'", one):
            extras[extra[2]].add(extra[1])
    assert extras == {name: set(PROJECT["dependency-groups"][name]) for name in ("completion", "export", "tracing")}


def test_it_has_every_module_and_nothing_of_the_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "generation").rglob("*.py")}
    assert modules <= names
    assert {name.split("/")[0] for name in names} == {"generation", f"distilgpt2_functions-{__version__}.dist-info"}


def test_a_message_says_how_to_install_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.how_to_install("tracing") == "pip install --group tracing"
    monkeypatch.setattr(config, "INSTALLED", True)
    assert config.how_to_install("tracing") == "pip install '.[tracing]' in a clone"


def test_one_backend_builds_it_here_and_elsewhere() -> None:
    """The development environment has the backend that an isolated build would fetch."""
    assert PROJECT["build-system"]["requires"] == [f"hatchling=={importlib.metadata.version('hatchling')}"]


@pytest.mark.heavy
def test_a_fresh_environment_gets_everything_from_pip(tmp_path: Path) -> None:
    """As a user would do it: needs the package index, for the backend and for what the run time needs."""
    venv.create(tmp_path / "fresh", with_pip=True, symlinks=True)
    done = _run(tmp_path / "fresh" / "bin" / "pip", "install", ROOT, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    said = _run(tmp_path / "fresh" / "bin" / PROGRAM, *CALL, folder=tmp_path)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("Once upon a time")
