"""The program as a whole: help, completions, standard streams and error messages."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from types import ModuleType

import pytest

from generation import __main__
from generation.cli.main import main
from generation.config import ROOT
from tests.support.command import failed, run, shell


@pytest.mark.parametrize(
    "call", ["generate 'The dog' --max-new-tokens 300 --ignore-eos", "--help", "tokenize 'The dog'"]
)
def test_a_reader_that_has_enough_gets_no_traceback(call: str) -> None:
    said = shell(f"{call} | head -c 9")
    assert (len(said.stdout), said.stderr) == (9, b"")


@pytest.mark.parametrize(
    ("redirection", "status", "words"),
    [(">/dev/full", 1, "error: standard output cannot be written: No space left on device\n"), (">&-", 0, "")],
)
@pytest.mark.parametrize("call", ["tokenize a", "--version"])
def test_an_output_that_takes_nothing(call: str, redirection: str, status: int, words: str) -> None:
    said = shell(f"{call} {redirection}")
    assert (said.returncode, said.stderr.decode()) == (status, words)


def test_closed_standard_streams_are_no_error() -> None:
    said = shell("generate - --max-new-tokens 1 --seed 1 <&- 2>&-")
    assert (said.returncode, said.stderr) == (0, b"")
    assert said.stdout


def test_a_terminal_that_is_not_utf_8_shows_escapes() -> None:
    said = run("generate", "Gr\u00fc\u00dfe \u4f60", "--max-new-tokens", "1", PYTHONIOENCODING="latin-1")
    assert said.returncode == 0, said.stderr
    assert said.stdout.decode("latin-1").startswith("Gr\u00fc\u00dfe \\u4f60")


def test_ctrl_c_while_python_imports_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake module simulates an import that a signal interrupts."""

    class Interrupted(ModuleType):
        def __getattr__(self, _: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "generation.cli.main", Interrupted("interrupted"))
    assert __main__.main() == 130


def test_ctrl_c_ends_the_line_of_a_terminal() -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "generation", "generate", "The dog", "--max-new-tokens", "500", "--ignore-eos"]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"SPECULATE": "0", "THREADS": "1"}, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        shown = os.read(leader, 1 << 16)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # a terminal without processes reads as an error on Linux
            while more := os.read(leader, 1 << 16):
                shown += more
    os.close(leader)
    assert process.returncode == 130
    assert shown.endswith(b"\r\n")
    assert not shown.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("command", ["generate", "tokenize", "serve", "batch"])
def test_a_python_without_the_packages_is_told_which_has_them(command: str) -> None:
    text = {"serve": [], "batch": ["a", "b"]}.get(command, ["a"])
    said = subprocess.run(
        [sys.executable, "-S", "-m", "generation", command, *text],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    failed(said, 2, ".venv/bin/python")


def test_no_command_prints_the_help() -> None:
    said = run()
    failed(said, 2, "exit status: 0 done")
    assert said.stderr == run("--help").stdout


def test_an_unexpected_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: str) -> str:
        raise RuntimeError("odd")

    monkeypatch.setattr("generation.cli.tokenize.read_text", fail)
    assert main(["tokenize", "a"]) == 1
    assert capsys.readouterr().err.startswith("error: unexpected RuntimeError: odd")


@pytest.mark.parametrize("command", [(), ("generate",), ("batch",), ("bench",), ("export",)], ids=str)
def test_help_teaches(command: tuple[str, ...]) -> None:
    said = run(*command, "--help")
    assert said.returncode == 0
    assert b"usage: python -m generation" in said.stdout
    assert len(said.stdout) > 1000


@pytest.mark.parametrize("columns", [1, 40, 60])
@pytest.mark.parametrize("command", [(), ("generate",), ("tokenize",), ("serve",), ("batch",), ("bench",)], ids=str)
def test_help_fits_a_narrow_terminal(
    command: tuple[str, ...], columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([*command, "--help"]) == 0
    wide = [
        line for line in capsys.readouterr().out.splitlines()
        if len(line) >= max(columns, 40) and not re.match(r"  \S", line)  # an example to copy
    ]  # fmt: skip
    assert wide == []


def test_a_shell_gets_completions() -> None:
    pytest.importorskip("argcomplete")
    line = "distilgpt2-functions generate --max"
    environment = {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_STDOUT_FILENAME": "/dev/stdout", "COMP_LINE": line, "COMP_POINT": str(len(line)),
    }  # fmt: skip
    said = run(stdin=b"", **environment)
    assert said.stdout.split() == [b"--max-new-tokens"]
