"""Files that tools read name what exists: what is published, what the image copies, what is mutated."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from generation.config import ROOT

MUTATIONS = sorted((ROOT / "tests" / "mutation").glob("*.toml"))


def _lines(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture
def published() -> set[str]:
    """The files of the project that .funcignore lets through: its patterns are those of .gitignore."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: git says which files are the project's")

    def files(*arguments: str) -> set[str]:
        git = ("git", "ls-files", "--cached", *arguments)
        return set(subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines())

    return files() - files("--ignored", "--exclude-from=.funcignore")


def test_func_publishes_the_app_with_its_model_and_no_tool(published: set[str]) -> None:
    app = {"function_app.py", "host.json", "requirements.txt", "LICENSE"}
    artifact = {f"models/demo/{name}" for name in ("config.json", "model.onnx", "model.onnx.data", "tokenizer.json")}
    assert app | artifact <= published
    rest = {name for name in published - app if not name.startswith(("generation/", "models/demo/"))}
    assert {name for name in rest if not name.endswith(".md")} == set()


def test_func_publishes_the_run_time_without_the_exporter(published: set[str]) -> None:
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "generation").rglob("*.py")}
    run_time = {name for name in code if not name.startswith("generation/export/")}
    assert {name for name in published if name.startswith("generation/") and name.endswith(".py")} == run_time
    assert "generation/api/playground_page/page.html" in published
    assert not any(name.startswith("models/demo/checkpoint/") for name in published)


def test_every_file_that_the_image_copies_reaches_its_build() -> None:
    first, *let_through = _lines(".dockerignore")
    assert first == "*"
    paths = {line.removeprefix("!") for line in let_through if line.startswith("!")}
    copies = re.findall(
        r"^COPY (?!--from)(.+)$|--mount=type=bind,source=([^,]+)", "\n".join(_lines("Dockerfile")), re.MULTILINE
    )
    sources = {source.rstrip("/") for copy, mount in copies for source in [*copy.split()[:-1], mount] if source}
    assert sources == paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_image_installs_a_group_that_exists_with_the_pip_of_the_makefile() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    both = "\n".join(_lines("Dockerfile") + _lines("Makefile"))
    assert set(re.findall(r"--group ([a-z]+)", both)) <= groups.keys()
    environments = re.findall(r"\.venv-([a-z]+)/installed", both)
    assert {"deploy", "az", "fuzz", "mutants"} <= set(environments) <= groups.keys()
    assert len(set(re.findall(r"\bpip==[\d.]+", both))) == 1


@pytest.mark.parametrize("path", MUTATIONS, ids=lambda path: path.stem)
def test_modules_that_are_mutated_and_their_tests_exist(path: Path) -> None:
    mutation: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["cosmic-ray"]
    tests = [word for word in shlex.split(mutation["test-command"]) if word.startswith("tests/")]
    assert mutation["module-path"]
    assert tests
    assert [name for name in [*mutation["module-path"], *tests] if not (ROOT / name).is_file()] == []


def test_the_makefile_names_every_set_of_mutants() -> None:
    (sentence,) = re.findall(
        r"^# Mutants .*toml: (.*?)\.", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(re.split(r", | or ", sentence)) == [path.stem for path in MUTATIONS]
