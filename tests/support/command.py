"""Run the command line in a separate process, as a script does."""

import os
import subprocess
import sys

from generation.config import ROOT


def run(*arguments: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``python -m generation`` with additional environment variables; return its output and exit status."""
    return subprocess.run(
        [sys.executable, "-m", "generation", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


def shell(call: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``python -m generation`` with the arguments, pipes and redirections of `call`; return what it printed."""
    command = f"{sys.executable} -m generation {call}"
    return subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, timeout=60, check=False)


def failed(said: subprocess.CompletedProcess[bytes], status: int, words: str) -> None:
    """Assert that a command printed only an error with `words`, without a traceback, and ended with `status`."""
    assert said.returncode == status, said.stderr
    assert words in said.stderr.decode()
    assert b"Traceback" not in said.stderr
    assert not said.stdout
