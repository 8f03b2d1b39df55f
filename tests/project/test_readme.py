"""The README says what is so."""

import re
import tomllib
from pathlib import Path

import pytest

from benchmarks import published
from generation import __version__
from generation.config import ROOT, table
from tests.support.docs import PAGES

README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_the_table_of_settings_is_that_of_the_code() -> None:
    assert table() in README


def test_every_file_of_the_layout_exists() -> None:
    layout = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Layout")[1].split("```")[1]
    names = [line.split()[0] for line in layout.strip().splitlines()]
    folder = ROOT
    for line, name in zip(layout.strip().splitlines(), names, strict=True):
        path = (folder if line.startswith("  ") else ROOT) / name
        assert path.exists(), name
        if path.is_dir() and not line.startswith("  "):
            folder = path


def test_its_speeds_are_those_of_the_benchmarks() -> None:
    assert published.brief(published.read()) in README.split("## How fast")[1]


def test_the_sizing_begins_with_the_speed_of_the_benchmarks() -> None:
    rows = re.findall(r"^\| 16 clients over HTTP, tokens/s \| (\d+) \|", README, re.MULTILINE)
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8").split("## Sizing")[1]
    assert re.findall(r"with the clients on the same cores: (\d+) tokens/s", page) == rows
    (a_core,) = set(re.findall(r"with `r` = (\d+)", page))
    assert int(a_core) == pytest.approx(int(rows[0]) / 2, abs=1)


def test_every_file_of_the_documentation_is_in_its_index() -> None:
    linked = set(LINK.findall(README))

    assert [path.name for path in (ROOT / "docs").glob("*.md") if f"docs/{path.name}" not in linked] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = [link.partition("#")[::2] for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    found = [(page.parent / path if path else page, anchor) for path, anchor in links]

    assert [path for path, anchor in found if not path.exists() or (anchor and anchor not in _anchors(path))] == []


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_changelog_begins_with_the_version_of_the_code() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changelog, re.MULTILINE)[0] == __version__


def test_the_version_is_written_in_one_place() -> None:
    """Answers in docs/api.md show it; every other file derives it."""
    shown = re.compile(r'(?:"version": "|_)(\d+\.\d+\.\d+)"')
    assert set(shown.findall((ROOT / "docs" / "api.md").read_text(encoding="utf-8"))) == {__version__}
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
