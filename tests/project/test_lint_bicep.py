"""``scripts/lint-bicep.sh`` with a stand-in for the compiler: what makes it fail, and what it says without one."""

import subprocess
from pathlib import Path

import pytest

from generation.config import ROOT

BICEP = """#!/bin/sh
echo "$*" >> "$0.calls"
case "$1 $*" in
    "--version"*) echo "Bicep CLI version 0";;
    $FAILS*) echo "$SAYS"; exit "$STATUS";;
    "format "*) [ -z "$CHANGES" ] || for file in "${3%%/infra/*}"/infra/*.bicep; do echo >> "$file"; done;;
esac
"""


@pytest.fixture
def compiler(tmp_path: Path) -> Path:
    program = tmp_path / "bicep"
    program.write_text(BICEP, encoding="utf-8")
    program.chmod(0o755)
    return program


def lint(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "lint-bicep.sh", *arguments],
        env={"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder), "FAILS": "no", "CHANGES": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_a_compiler_it_says_so(tmp_path: Path) -> None:
    done = lint(tmp_path)
    assert done.returncode == 2
    assert "there is no Bicep compiler" in done.stderr


def test_the_compiler_of_the_azure_cli_will_do(tmp_path: Path, compiler: Path) -> None:
    (tmp_path / ".azure" / "bin").mkdir(parents=True)
    compiler.rename(tmp_path / ".azure" / "bin" / "bicep")
    assert lint(tmp_path).returncode == 0


def test_all_is_well_when_the_compiler_is_silent(tmp_path: Path, compiler: Path) -> None:
    done = lint(tmp_path)
    assert done.returncode == 0, done.stderr
    calls = Path(f"{compiler}.calls").read_text(encoding="utf-8").splitlines()
    snapshots = [call for call in calls if call.startswith("snapshot") and "--mode validate" in call]
    assert len(snapshots) == len(list((ROOT / "infra" / "cases").glob("*.bicepparam")))


@pytest.mark.parametrize(
    ("fails", "says", "status"),
    [
        ("lint", "Warning BCP037: The property is not allowed", "0"),
        ("lint", "Error", "1"),
        ("snapshot", "Snapshot validation failed", "1"),
        ("format", "Error", "1"),
    ],
)
def test_a_warning_counts_as_much_as_an_error(
    tmp_path: Path, compiler: Path, fails: str, says: str, status: str
) -> None:
    done = lint(tmp_path, FAILS=fails, SAYS=says, STATUS=status)
    assert done.returncode == 1
    assert says in done.stdout + done.stderr


def test_a_file_that_the_compiler_would_format_otherwise_is_an_error(tmp_path: Path, compiler: Path) -> None:
    done = lint(tmp_path, CHANGES="1")
    assert done.returncode == 1
    assert "is not formatted" in done.stderr


def test_old_api_versions_are_looked_for_only_when_asked(tmp_path: Path, compiler: Path) -> None:
    assert lint(tmp_path).returncode == 0
    config = (ROOT / "infra" / "bicepconfig.json").read_text(encoding="utf-8")
    assert '"use-recent-api-versions": { "level": "off" }' in config
    assert lint(tmp_path, "--api-versions").returncode == 0
    last = Path(f"{compiler}.calls").read_text(encoding="utf-8").splitlines()[-1]
    assert "--config" in last
    done = lint(tmp_path, "--api-versions", FAILS="lint", SAYS="Error use-recent-api-versions", STATUS="1")
    assert done.returncode == 1
