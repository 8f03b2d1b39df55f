"""An `az` that notes what it is called with, for the scripts that deploy."""

import os
import subprocess
from pathlib import Path

from generation.config import ROOT

AZ = """#!/bin/sh
# Knows at most one resource group, one app and one slot, of which it is told by files; fails at what FAIL says.
echo "$*" >> "$0.calls"
case "$*" in "${FAIL:-nothing}"*) echo "az: no" >&2; exit 1;; esac
said() { if [ -e "$0.$1" ]; then cat "$0.$1"; fi; }
case "$*" in
    "group exists"*) if [ -e "$0.group" ]; then echo true; else echo false; fi;;
    "group create"*) touch "$0.group";;
    "resource list"*) said types;;
    "deployment group list"*) said last;;
    "functionapp list"* | "containerapp list"*) said app;;
    "functionapp deployment slot list"*) said slot;;
    *"config show"*"--slot"*) said staged;;
    *"config show"*) said image;;
    "containerapp show"*) said shown;;
    "containerapp secret list"*) said secrets;;
    "deployment group create"*) env > "$0.env"; echo https://app.example/api;;
esac
"""


class Azure:
    """The stand-in, in a folder that goes on the path of what is run."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "az"
        self._program.write_text(AZ, encoding="utf-8")
        self._program.chmod(0o755)

    def has(self, what: str, answer: str = "") -> None:
        """Tell it that there is a thing, and what it says of it."""
        Path(f"{self._program}.{what}").write_text(answer + "\n", encoding="utf-8")

    def calls(self) -> list[str]:
        """Return what it was called with, and forget it."""
        file = Path(f"{self._program}.calls")
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def environment(self) -> dict[str, str]:
        """Return the environment in which it was asked to deploy."""
        lines = Path(f"{self._program}.env").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a script with the stand-in on its path."""
        path = f"{self._program.parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [ROOT / "scripts" / script, *arguments],
            env={**os.environ, "PATH": path, "RG": "g", "APP": "a", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
