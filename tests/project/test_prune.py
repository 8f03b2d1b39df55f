"""What is left of a folder of packages once the image's build has pruned it: enough to serve, and little else."""

import os
import platform
import re
import shutil
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path

import pytest

from generation.config import ROOT

LIMIT_MIB = 112  # make image-check allows 114, for the packages and the code


def prune(folder: Path) -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "prune.py", folder], check=True, capture_output=True)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    for name in ("idna", "kept"):
        info = f"{name}-1.0.dist-info"
        files = {
            f"{name}/__init__.py": "",
            f"{name}/module.py": "",
            f"{name}/module.pyi": "",
            f"{name}/tests/test_it.py": "",
            f"{info}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n\n# Long\n\nread me\n",
        }
        files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
    prune(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run-time packages of this environment, pruned, in a folder of their own."""
    folder = tmp_path_factory.mktemp("packages")
    names = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE))
    for name in names:
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:  # of another system
            continue
        for path in files:
            if ".." not in path.parts and path.suffix != ".pyc":
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path.locate(), folder / path)
    prune(folder)
    return folder


def test_an_unused_package_is_gone_and_the_others_stay(packages: Path) -> None:
    assert [one.name for one in distributions(path=[str(packages)])] == ["kept"]
    assert sorted(path.name for path in packages.iterdir()) == ["kept", "kept-1.0.dist-info"]


def test_of_a_kept_package_the_code_stays_without_its_tests_and_stubs(packages: Path) -> None:
    left = {str(path.relative_to(packages / "kept")) for path in (packages / "kept").rglob("*")}
    assert left == {"__init__.py", "module.py"}


def test_metadata_keeps_its_fields_and_loses_the_readme(packages: Path) -> None:
    text = (packages / "kept-1.0.dist-info" / "METADATA").read_text(encoding="utf-8")
    assert text == "Metadata-Version: 2.4\nName: kept\nVersion: 1.0\n"


def test_a_file_that_is_no_library_but_named_like_one_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "script.so").write_text("INPUT(other.so)", encoding="utf-8")
    prune(tmp_path)
    assert (tmp_path / "script.so").read_text(encoding="utf-8") == "INPUT(other.so)"


@pytest.mark.heavy
def test_the_app_serves_with_nothing_but_the_pruned_packages(installed: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", symlinks=True)
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    smoke = subprocess.run(
        [tmp_path / "bare" / "bin" / "python", "scripts/smoke.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert smoke.returncode == 0, smoke.stdout + smoke.stderr


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="the image's packages")
def test_the_pruned_packages_leave_room_below_the_limit_of_the_image(installed: Path, tmp_path: Path) -> None:
    bytecode = tmp_path / "bytecode"
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONPYCACHEPREFIX": str(bytecode)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    found = re.search(r'python3 -c "(import azure[^"]+)"', (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert found, "the Dockerfile imports what every start imports"
    subprocess.run([sys.executable, "-S", "-c", found[1]], env=environment, check=True)
    files = [*installed.rglob("*"), *(bytecode / str(installed).lstrip("/")).rglob("*")]
    assert sum(path.stat().st_size for path in files if path.is_file()) / 2**20 < LIMIT_MIB
