"""What is left of a folder of packages once the image's build has pruned it."""

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from generation.config import ROOT


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
    subprocess.run([sys.executable, ROOT / "scripts" / "prune.py", tmp_path], check=True, capture_output=True)
    return tmp_path


def test_an_unused_package_is_gone_and_the_others_stay(packages: Path) -> None:
    assert [one.name for one in distributions(path=[str(packages)])] == ["kept"]
    assert sorted(path.name for path in packages.iterdir()) == ["kept", "kept-1.0.dist-info"]


def test_of_a_kept_package_the_code_stays_without_its_tests_and_stubs(packages: Path) -> None:
    left = {str(path.relative_to(packages / "kept")) for path in (packages / "kept").rglob("*")}
    assert left == {"__init__.py", "module.py"}


def test_metadata_keeps_its_fields_and_loses_the_readme(packages: Path) -> None:
    text = (packages / "kept-1.0.dist-info" / "METADATA").read_text(encoding="utf-8")
    assert text == "Metadata-Version: 2.4\nName: kept\nVersion: 1.0\n"
