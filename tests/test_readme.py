"""The README says what is so."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from generation.config import ROOT, table
from tests.server import Served

README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_the_table_of_settings_is_that_of_the_code() -> None:
    assert table() in README


def test_every_file_that_it_names_exists() -> None:
    layout = README.split("## Layout")[1].split("```")[1]
    names = [line.split()[0] for line in layout.strip().splitlines()]
    folder = ROOT
    for line, name in zip(layout.strip().splitlines(), names, strict=True):
        path = (folder if line.startswith("  ") else ROOT) / name
        assert path.exists(), name
        if path.is_dir() and not line.startswith("  "):
            folder = path


def test_every_file_of_the_documentation_is_in_its_index() -> None:
    linked = set(LINK.findall(README))

    assert [path.name for path in (ROOT / "docs").glob("*.md") if f"docs/{path.name}" not in linked] == []


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = [link.split("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8"))]
    relative = [link for link in links if link and "://" not in link]

    assert [link for link in relative if not (page.parent / link).exists()] == []


def _blocks() -> list[str]:
    return [part.split("\n", 1)[1] for part in README.split("```")[1::2]]


CALLS = [block.strip() for block in _blocks() if block.startswith("curl")]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("call", CALLS)
def test_its_calls_answer_in_the_shape_that_it_shows(served: Served, call: str) -> None:
    """The text itself may differ between kinds of processors; keys, counts and the form of events may not."""
    shown = _blocks()[_blocks().index(call + "\n") + 1].strip()
    command = shlex.split(call.replace("http://127.0.0.1:7071/api", served.url))
    answer = subprocess.run([*command, "-s"], capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    if shown.startswith("data:"):
        assert answer.startswith("data: {")
        assert answer.endswith("data: [DONE]")
        return
    assert list(json.loads(answer)) == list(json.loads(shown))
    assert len(json.loads(answer)["generated_sequences"]) == len(json.loads(shown)["generated_sequences"])


def test_its_python_runs(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = [block for block in _blocks() if "from openai" in block]
    exec(compile(program.replace("http://127.0.0.1:7071/api", served.url), "README.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out.strip()


def test_its_command_runs_and_prints_as_much_as_it_shows() -> None:
    """The text may differ between kinds of processors."""
    ((command, shown),) = [
        (block, _blocks()[place + 1]) for place, block in enumerate(_blocks()) if "-m generation generate" in block
    ]
    arguments = shlex.split(command.replace(".venv/bin/python", sys.executable))
    said = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.startswith("Once upon a time")
    assert shown.startswith("Once upon a time")
    assert said.stderr == ""
