"""Starts `tests.runtime.server` under Python 3.13 and always stops it.

The interpreter is that of ``.venv-runtime``, which ``make test`` makes where a Python 3.13 is found, or
``RUNTIME_PYTHON``. With ``REQUIRE_RUNTIME=1`` its absence is a failure instead of a skip.
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from generation.config import ROOT, Settings

KEY = "key-of-the-tests"
START_S = 60.0
MISSING = (
    "AZURE'S OWN RUNTIME WAS NOT TESTED: there is no .venv-runtime. `make test` makes it where it finds a python3.13, "
    "on PATH or among pyenv's"
)
# The container's name switches the runtime to what it does on Azure; the rest are settings of the app.
UNWANTED = {"CONTAINER_NAME"} | {one.name.upper() for one in fields(Settings) if one.name != "model_dir"}


@dataclass(frozen=True, slots=True)
class Runtime:
    """A running server: its address, ending in ``/api``, what it said when it began, and its log."""

    report: dict[str, Any]
    log_file: Path

    @property
    def url(self) -> str:
        """The address of the app, as that of the embedded host."""
        return f"{self.report['url']}/api"

    def log(self, at_least: int = 0) -> list[str]:
        """Return the lines that the server has logged so far; a file does not lag, so there is nothing to wait for."""
        return self.log_file.read_text().splitlines()


def interpreter() -> str | None:
    """Return the Python that has the official runtime."""
    given = Path(os.environ.get("RUNTIME_PYTHON") or ROOT / ".venv-runtime" / "bin" / "python")
    return str(given) if given.exists() else None


def _command(script: Path) -> list[str]:
    python = interpreter()
    if python is None:
        (pytest.fail if os.environ.get("REQUIRE_RUNTIME") else pytest.skip)(MISSING)
    return [python, "-m", "tests.runtime.server", str(script), KEY]


@contextmanager
def serve_runtime(script: Path, log_file: Path, **environment: str) -> Iterator[Runtime]:
    """Run a function app under the official runtime, on a free port, until the block ends."""
    kept = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            _command(script),
            cwd=ROOT,
            env=kept | {"PYTHONUNBUFFERED": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    too_long = threading.Timer(START_S, process.kill)
    too_long.start()
    try:
        line = process.stdout.readline() if process.stdout else b""
        too_long.cancel()
        if not line:
            pytest.fail(f"the server did not start:\n{log_file.read_text()}")
        yield Runtime(json.loads(line), log_file)
    finally:
        too_long.cancel()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
