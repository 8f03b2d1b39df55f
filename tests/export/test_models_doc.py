"""The commands of docs/models.md run, in order, on a small model."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from generation.config import ROOT

TEXT = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(?:mkdir|sed|\.venv-dev/bin/python) .*models/mine.*$", TEXT, re.MULTILINE)


@pytest.mark.heavy
def test_its_commands_run(tmp_path: Path) -> None:
    assert len(COMMANDS) == 6
    for command in COMMANDS:
        here = command.replace("models/mine", str(tmp_path / "mine")).replace(".venv-dev/bin/python", sys.executable)
        done = subprocess.run(  # noqa: S602
            here, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert (tmp_path / "mine" / "report.json").is_file()
    assert (tmp_path / "mine" / "new" / "training.json").is_file()
