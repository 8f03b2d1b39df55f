"""The page as it is served: one file, made of its parts, that lets nothing else in."""

import re
from pathlib import Path

import httpx
import pytest

from generation.api.playground import CHAT_PARTS, CHAT_SCRIPTS, PARTS, SCRIPTS

MOST_BYTES = 60_000


def _without_spaces(text: str) -> str:
    return re.sub(r"\s", "", text)


PAGES = [("/playground", PARTS, SCRIPTS), ("/playground/chat", CHAT_PARTS, CHAT_SCRIPTS)]


def _code(part: Path) -> list[str]:
    """Return the lines of a part without comments, read line by line."""
    lines, inside = [], False
    for line in part.read_text(encoding="utf-8").splitlines():
        if line.strip().startswith("/*"):
            inside = True
        if not inside and not line.strip().startswith("//"):
            lines.append(line.split("  //")[0].rstrip())
        if line.rstrip().endswith("*/"):
            inside = False
    return lines


@pytest.mark.parametrize("path", ["/playground", "/playground/chat"])
def test_it_is_served_with_a_policy_that_lets_nothing_else_in(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    policy = response.headers["content-security-policy"]
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert re.fullmatch(
        r"default-src 'none'; script-src 'sha256-[^ ]+'; style-src 'sha256-[^ ]+'; connect-src 'self'; img-src data:; "
        r"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        policy,
    )
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/playground", "/playground/chat"])
def test_it_is_one_small_file_that_names_no_other(client: httpx.Client, path: str) -> None:
    page = client.get(path)
    assert len(page.content) < MOST_BYTES
    assert not re.search(r"https?://|\burl\(|@import|<script src|<link rel=\"stylesheet", page.text)
    assert re.findall(r"<link [^>]*>", page.text) == ['<link rel="icon" href="data:,">']


@pytest.mark.parametrize(("path", "parts", "scripts"), PAGES)
def test_it_is_made_of_its_parts_and_of_nothing_else(
    client: httpx.Client, path: str, parts: Path, scripts: tuple[Path, ...]
) -> None:
    served = client.get(path).text
    made = "\n".join(_code(parts / "page.html"))
    for tag, files in (("style", (parts / "style.css",)), ("script", scripts)):
        code = "\n".join(line for file in files for line in _code(file))
        made = made.replace(f"<{tag}></{tag}>", f"<{tag}>{code}</{tag}>")
    assert _without_spaces(served) == _without_spaces(made)
    own = {script.name for script in scripts if script.parent == parts}
    assert {path.name for path in parts.iterdir() if path.is_file()} == {"page.html", "style.css"} | own


def _texts(code: str) -> list[str]:
    """Return what is inside string literals and templates; no regular expression of the scripts has quotes."""
    texts: list[str] = []
    open_: list[str] = []
    text = ""
    for one in re.findall(r"\\.|\$\{|.", code, re.DOTALL):
        inside = open_[-1] if open_ else "{"
        if inside in "\"'`":
            if one in (inside, "${"):
                texts.append(text)
                text = ""
                open_ = open_[:-1] if one == inside else [*open_, "{"]
            else:
                text += one
        elif one in "\"'`{":
            open_.append(one)
        elif one == "}":
            if len(open_) > 1 and open_[-2] == "`":
                text = ""
            open_.pop()
    assert not open_, "the literals are not read right"
    return texts


def test_no_text_in_the_scripts_loses_spaces() -> None:
    """The page drops indentation and the spaces around some operators; in a text they have to stay."""
    for part in (*SCRIPTS, CHAT_PARTS / "chat.js"):
        for text in _texts("\n".join(_code(part))):
            assert "\n" not in text, f"a template spans lines: {text}"
            assert not re.search(r" (=>|===|!==|&&|\|\||\?\?|[<>]=) |\) \{", text), text
