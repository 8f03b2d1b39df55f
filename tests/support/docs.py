"""Read the documents: their fenced blocks and names in backticks; and run their commands in a copy of the project.

The language of a fenced block determines its kind:

- ``sh``: commands, which tests run in a folder like a fresh clone, with `STAND_INS` for a few programs
- ``python``, ``js``: programs, which tests run
- ``http``: a request and its response, which ``test_api_doc.py`` sends and compares
- no language, after one of these and under the same heading: its output, which tests compare
- every other block is listed in `SHOWN`
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from generation.config import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "examples" / "README.md",
    ROOT / "models" / "demo" / "README.md",
]
PIECE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$|^#+ (?P<heading>[^\n]*)$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
# Addresses of the API in the documents.
BASE = re.compile(r"https?://(?:127\.0\.0\.1:\d+|\$APP\.azurewebsites\.net)/api")

# Blocks that are neither a command nor the output of one, by page and heading.
SHOWN = {
    ("README.md", "How it works"): "a drawing; the files in it are looked for",
    ("CONTRIBUTING.md", "Layout"): "files, which test_readme.py looks for",
    ("docs/architecture.md", "Packages"): "the contract of make lint; test_docs.py compares it with pyproject.toml",
    ("docs/architecture.md", "The path of a request"): "a diagram; the packages in it are looked for",
    ("docs/functions.md", "The path of a request"): "a drawing; the files in it are looked for",
    ("docs/operations.md", "Metrics"): "a configuration of Prometheus; test_docs.py holds it against the routes",
    ("docs/operations.md", "Logs"): "a line of the log; test_docs.py compares it with one of the server",
    ("docs/operations.md", "Request ids and timing"): "a header; test_docs.py compares it with one of the server",
}

PYTHON = shlex.quote(sys.executable)
# Programs that tests cannot run as a reader would, and their replacements.
STAND_INS = {
    # Targets take minutes, or need a network: make only prints the commands that it would run.
    "make": f'exec {shutil.which("make")} -n "$@" PYTHON313=',
    # Needs Azure: every call succeeds and prints a word. `make lint-az` lets the Azure CLI parse the same commands.
    "az": "echo word",
    # Need GitHub or Azure: they read their input and print a word.
    "gh": "cat > /dev/null; echo word",
    "azd": "cat > /dev/null; echo word",
    # Needs k6 and a deployment: test_load.py runs the script in Node.js.
    "k6": "exit 0",
    # Azure Functions Core Tools need these two files.
    "func": "test -f host.json && test -f local.settings.json",
    # The environment of the tests has the named packages, so pip finds nothing to do.
    "pip": f'exec {PYTHON} -m pip --no-input "$@" --no-index --dry-run',
    # Export, training and measuring take minutes: test_docs.py checks the arguments, and the heavy set runs the page
    # about models.
    "python": f'case "$2" in generation.export*|benchmarks.*) exit 0;; esac; exec {PYTHON} "$@"',
}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, with its page, the heading above it, and the blocks of its output."""

    page: str
    heading: str
    language: str
    text: str
    outputs: list["Block"] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.page}: {self.heading}: {self.text.strip().splitlines()[0][:40]}"


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, without those that are the output of another."""
    found: list[Block] = []
    heading = ""
    last: Block | None = None
    for piece in PIECE.finditer(page.read_text(encoding="utf-8")):
        if piece["heading"] is not None:
            heading, last = piece["heading"], None
            continue
        one = Block(page.relative_to(ROOT).as_posix(), heading, piece["language"], piece["text"])
        if last is not None and one.language in {"", "json"}:
            last.outputs.append(one)
            continue
        found.append(one)
        last = one if one.language in {"sh", "python", "js"} else None
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]


def inline(page: Path) -> set[str]:
    """Return the texts in backticks outside the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return set(INLINE.findall(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)))


@dataclass(frozen=True, slots=True)
class Clone:
    """A folder like a fresh clone, in which the commands of documents run without changing the project."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, **stand_ins: str) -> "Clone":
        """Create the folder, with the programs of `STAND_INS`; the arguments override some of them."""
        for path in ROOT.iterdir():
            if not path.name.startswith(".") and path.name != "models":
                (folder / path.name).symlink_to(path)
        (folder / "models").mkdir()
        (folder / "models" / "demo").symlink_to(ROOT / "models" / "demo")
        for place in (".stand-ins", ".venv/bin", ".venv-dev/bin"):
            (folder / place).mkdir(parents=True)
            for name, script in (STAND_INS | stand_ins).items():
                program = folder / place / name
                program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
                program.chmod(0o755)
        (folder / ".venv" / "bin" / "activate").touch()
        return cls(folder)

    def run(self, block: Block, url: str) -> str:
        """Run a block of commands against the server at `url`; return what it printed.

        Raises:
            AssertionError: a command failed.
        """
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", BASE.sub(url, block.text)],
            cwd=self.folder,
            env=os.environ
            | {"PATH": f"{self.folder / '.stand-ins'}:{os.environ['PATH']}", "BASE_URL": url}
            | {"APP": "app", "RG": "group", "IMAGE": "app:latest", "KEY": "key"},  # set by earlier blocks
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        return done.stdout
