"""Collect the pages of the documentation site: ``python -m scripts.site_pages FOLDER``; ``make site`` calls it.

The site has ``docs/``, some pages from elsewhere in the repository, and a reference made of the OpenAPI document. The
Markdown is written for GitHub; this module translates its links.
"""

import json
import os
import posixpath
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = "docs"
# Pages outside docs/, by their place in the repository, and their names in the site.
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "examples.md",
    "models/demo/README.md": "demo.md",
}
# The text of a link, with any code and brackets of an image; then where it leads.
LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\((?P<to>[^)\s]+)\)")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
# Headings of the generated reference, for the table of contents beside the page.
HEADING = re.compile(r'<h(?P<level>[23]) id="(?P<id>[^"]+)">(?P<text>[^<]*)</h[23]>')


def translated(markdown: str, page: str, repository: str = "") -> str:
    """Return `markdown` with its relative links as the site needs them.

    Args:
        markdown: the text of a page.
        page: the place of that page in the repository.
        repository: address of the repository on GitHub, for links to files that are no pages. Without it such a
            link becomes plain text.
    """

    def link(found: re.Match[str]) -> str:
        to, _, anchor = found["to"].partition("#")
        if "://" in to or not to:
            return found[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), to))
        place = ELSEWHERE.get(target) or target.removeprefix(f"{DOCS}/")
        if place == target:  # neither a page nor a file below docs/
            return f"[{found['text']}]({repository}/blob/main/{target})" if repository else found["text"]
        if (ROOT / target).is_dir():
            place += "/README.md"
        place = posixpath.relpath(place, posixpath.dirname(in_site(page)) or ".")
        return f"{found['image']}[{found['text']}]({place}{anchor and '#'}{anchor})"

    parts = FENCE.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)


def in_site(page: str) -> str:
    """Return the place in the site of a page of the repository."""
    return ELSEWHERE.get(page) or page.removeprefix(f"{DOCS}/")


def reference(page: str) -> str:
    """Return the reference as Markdown, from the HTML page that the server itself makes of the OpenAPI document."""
    body = page.partition("<body>")[2].partition("</body>")[0]
    body = re.sub(r"<h1>(.*?)</h1>", r"# API reference\n\n\1. ", body, count=1)
    body = body.replace("<h2>Objects</h2>", "\n\n## Objects\n\n")
    body = re.sub(r"(`+)(.+?)\1", r"<code>\2</code>", body)  # Markdown inside of HTML stays as it is
    return HEADING.sub(lambda one: f"\n\n{'#' * int(one['level'])} {one['text']} {{ #{one['id']} }}\n\n", body)


def assemble(folder: Path, repository: str = "") -> None:
    """Write every page and file of the site into `folder`, which must not exist."""
    # Imported here, because the tests of the links need none of it.
    from generation.api.openapi_document import document
    from generation.api.openapi_page import render

    shutil.copytree(ROOT / DOCS, folder)
    pages = [path.relative_to(ROOT).as_posix() for path in (ROOT / DOCS).rglob("*.md")]
    for page in [*pages, *ELSEWHERE]:
        text = (ROOT / page).read_text(encoding="utf-8")
        (folder / in_site(page)).write_text(translated(text, page, repository), encoding="utf-8")
    contract = document(keys="function")
    (folder / "reference.md").write_text(reference(render(contract)), encoding="utf-8")
    (folder / "openapi.json").write_text(json.dumps(contract, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    assemble(Path(sys.argv[1]), os.environ.get("REPO_URL", "").rstrip("/"))
