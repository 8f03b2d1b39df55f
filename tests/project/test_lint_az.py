"""Which `az` lines the linter finds, and what it says of the answers of a stand-in for the Azure CLI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from generation.config import ROOT

# Runs as `python -m azure.cli`.
CLI = """
import sys
line = " ".join(sys.argv[1:])
if "--bad" in line:
    sys.exit("unrecognized arguments: --bad")
print("deprecated," if "--old" in line else "", "Please run 'az login'", file=sys.stderr)
sys.exit(2 if "--two" in line else 1)
"""


def lint(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    package = folder / "modules" / "azure" / "cli"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__main__.py").write_text(CLI, encoding="utf-8")
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "lint_az.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(package.parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("az group exists -n $RG", "az group exists -n word"),
        ("    az group exists -n x || stop", "az group exists -n x"),
        ('old=$(az group exists -n "${RG:-my group}") || stop', "az group exists -n word"),
        ("az group exists \\\n    -n x", "az group exists -n x"),
        ("az group list --query '[].id' > file", "az group list --query '[].id'"),
        ('echo "  az group exists -n $RG -o tsv"', "az group exists -n word -o tsv"),
        ("true && az group list", "az group list"),
    ],
)
def test_a_command_of_a_script_is_found(tmp_path: Path, line: str, command: str) -> None:
    (tmp_path / "a.sh").write_text(line + "\n", encoding="utf-8")
    assert lint(tmp_path, "--list", "a.sh").stdout == f"a.sh: {command}\n"


def test_comments_and_messages_are_no_commands(tmp_path: Path) -> None:
    text = '# az login\necho "not logged in: az login" >&2\naz group list\n'
    (tmp_path / "a.sh").write_text(text, encoding="utf-8")
    assert lint(tmp_path, "--list", "a.sh").stdout == "a.sh: az group list\n"


def test_in_markdown_only_fenced_blocks_count(tmp_path: Path) -> None:
    text = "az words in prose\n```\naz group list\n```\naz more prose\n```sh\nKEY=$(az group show -n g)\n```\n"
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    assert lint(tmp_path, "--list", "a.md").stdout == "a.md: az group list\na.md: az group show -n g\n"


@pytest.mark.parametrize(("flag", "code"), [("", 0), ("--bad", 1), ("--two", 1), ("--old", 1)])
def test_a_line_is_right_when_it_gets_as_far_as_the_login(tmp_path: Path, flag: str, code: int) -> None:
    (tmp_path / "a.sh").write_text(f"az group list {flag}\n", encoding="utf-8")
    done = lint(tmp_path, "a.sh")
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith("WRONG" if code else "ok")


def test_what_cannot_be_parsed_offline_is_left_out_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("az containerapp function keys list --bad\n", encoding="utf-8")
    done = lint(tmp_path, "a.sh")
    assert done.returncode == 0
    assert "extension of the CLI" in done.stdout


@pytest.mark.parametrize(("compiler", "said"), [(False, "left out"), (True, "WRONG")])
def test_a_deployment_is_parsed_where_there_is_a_bicep_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: bool, said: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if compiler:
        (tmp_path / "bicep").touch(0o755)
    (tmp_path / "a.sh").write_text("az deployment group create --bad\n", encoding="utf-8")
    assert lint(tmp_path, "a.sh").stdout.startswith(said)


def test_a_variable_that_stands_for_a_template_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text('az deployment group create --parameters "$template"\n', encoding="utf-8")
    assert "--parameters infra/main.bicepparam" in lint(tmp_path, "--list", "a.sh").stdout


def test_no_line_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("true\n", encoding="utf-8")
    assert lint(tmp_path, "a.sh").returncode == 1
