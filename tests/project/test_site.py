"""The documentation site: every page is in its navigation, and links lead to the same pages as on GitHub."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from generation.api.openapi_operations import OPERATIONS
from generation.config import ROOT
from scripts.site_pages import ELSEWHERE, assemble, translated
from tests.support.docs import PAGES

CONFIG: dict[str, Any] = yaml.safe_load(re.sub(r"!ENV .*", '""', (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
REPOSITORY = "https://github.com/OWNER/REPO"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "pages"
    assemble(folder, REPOSITORY)
    return folder


def _in_navigation(entries: Any) -> list[str]:
    if isinstance(entries, str):
        return [entries]
    values = entries.values() if isinstance(entries, dict) else entries
    return [place for one in values for place in _in_navigation(one)]


def test_the_navigation_has_every_page(site: Path) -> None:
    """Benchmark pages of single machines are linked from their index. `make site` fails if a page is missing."""
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.md")}
    rest = pages - set(_in_navigation(CONFIG["nav"]))
    assert [page for page in rest if not page.startswith("benchmarks/")] == []


def test_every_document_of_the_repository_is_a_page() -> None:
    outside = {page.relative_to(ROOT).as_posix() for page in PAGES if ROOT / "docs" not in page.parents}
    assert outside == set(ELSEWHERE)


def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    assert CONFIG["theme"]["font"] is False
    assert "extra_javascript" not in CONFIG
    # The site generator would render this with a script from another server.
    assert [path.name for path in site.rglob("*.md") if "```mermaid" in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("README.md", "[a](docs/api.md#errors)", "[a](api.md#errors)"),
        ("README.md", "![a b](docs/images/playground.png)", "![a b](images/playground.png)"),
        ("README.md", "[a](docs/benchmarks/README.md)", "[a](benchmarks/README.md)"),
        ("README.md", "[MIT](LICENSE)", f"[MIT]({REPOSITORY}/blob/main/LICENSE)"),
        ("README.md", "[a](#settings) and [b](https://b.example/c)", "[a](#settings) and [b](https://b.example/c)"),
        ("docs/models.md", "[card](../models/demo/README.md)", "[card](demo.md)"),
        ("docs/functions.md", "[a](../README.md#settings)", "[a](index.md#settings)"),
        ("docs/performance.md", "[a](benchmarks/README.md)", "[a](benchmarks/README.md)"),
        ("docs/benchmarks/README.md", "[a](../performance.md)", "[a](../performance.md)"),
        ("examples/README.md", "[`c.sh`](completions.sh)", f"[`c.sh`]({REPOSITORY}/blob/main/examples/completions.sh)"),
        ("examples/README.md", "[a](../docs/bulk.md)", "[a](bulk.md)"),
        ("docs/api.md", "```sh\n[a](../LICENSE)\n```", "```sh\n[a](../LICENSE)\n```"),
    ],
)
def test_a_link_leads_where_it_leads_on_github(page: str, link: str, expected: str) -> None:
    assert translated(link, page, REPOSITORY) == expected


def test_without_a_repository_a_link_to_a_file_is_text() -> None:
    assert translated("See [MIT](LICENSE).", "README.md") == "See MIT."


def test_the_reference_has_every_operation(site: Path) -> None:
    text = (site / "reference.md").read_text(encoding="utf-8")
    missing = [
        one.path for one in OPERATIONS if f"\n## {one.method.upper()} /api/{one.path.replace('{*', '{')}" not in text
    ]
    assert missing == []
    assert json.loads((site / "openapi.json").read_text(encoding="utf-8"))["openapi"].startswith("3.1")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_list_or_table_stands_between_empty_lines(page: Path) -> None:
    """Unlike GitHub, the site's Markdown requires empty lines around lists and tables."""
    text = re.sub(r"^```.*?^```$", "a block", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    wrong = []
    for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False):
        kinds = [_kind(one) for one in (before, line)]
        if kinds[0] != kinds[1] and kinds in (
            ["text", "list"],
            ["text", "table"],
            ["table", "text"],
            ["list", "table"],
        ):
            wrong.append(line)
    assert wrong == []


def _kind(line: str) -> str:
    if not line.strip() or line.startswith(("#", "<!--")):
        return "nothing"
    return "list" if re.match(r"[-*] |\d+\. |  ", line) else "table" if line.startswith("|") else "text"
