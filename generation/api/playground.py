"""``GET /api/playground`` and ``GET /api/playground/chat``: pages to try the server with.

They request nothing from any other host. Chat has a page of its own, which only models with a chat template need.
"""

import base64
import hashlib
import re
from functools import lru_cache
from pathlib import Path

from starlette.responses import Response

PARTS = Path(__file__).with_name("playground_page")
CHAT_PARTS = Path(__file__).with_name("chat_page")
_NAMES = (
    "base", "text", "sampling", "requests", "api", "settings", "editor", "tree", "inspector", "generate", "share",
    "main",
)  # fmt: skip
# The scripts of a page share one scope; a part uses what the parts before it define, except inside functions.
SCRIPTS = tuple(PARTS / f"{name}.js" for name in _NAMES)
CHAT_SCRIPTS = (CHAT_PARTS / "chat.js", PARTS / "requests.js")
# Block comments that have lines to themselves, and what follows `//` at the start of a line or after two spaces.
_COMMENTS = re.compile(r"^[ \t]*/\*.*?\*/[ \t]*$|(?:^|  )[ \t]*//[^\n]*$", re.DOTALL | re.MULTILINE)
# Spaces that the style sheet and the scripts do not need. No string in the scripts contains these operators.
_STYLE_SPACES = re.compile(r"\s*([{};,>])\s*|(?<=:) ")
_SCRIPT_SPACES = re.compile(r" (=>|===|!==|&&|\|\||\?\?|[<>]=) |(?<=\)) (?=\{)")


async def get() -> Response:
    """Answer ``GET /api/playground``."""
    return _respond(*page(PARTS, SCRIPTS))


async def chat() -> Response:
    """Answer ``GET /api/playground/chat``."""
    return _respond(*page(CHAT_PARTS, CHAT_SCRIPTS))


def _respond(content: str, policy: str) -> Response:
    return Response(
        content,
        media_type="text/html",
        headers={
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-cache",
        },
    )


@lru_cache
def page(parts: Path, scripts: tuple[Path, ...]) -> tuple[str, str]:
    """Assemble the page whose document and style are in the folder `parts`.

    Returns:
        The page, and a content security policy that admits its own style and script, by their hashes, and nothing else.
    """
    style = _STYLE_SPACES.sub(lambda one: one[1] or "", _read(parts / "style.css"))
    script = _SCRIPT_SPACES.sub(lambda one: one[1] or "", "".join(map(_read, scripts)))
    content = _read(parts / "page.html")
    for tag, inner in (("style", style), ("script", script)):
        before, after = content.split(f"<{tag}></{tag}>")
        content = f"{before}<{tag}>\n{inner}</{tag}>{after}"
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return content, policy


def _read(part: Path) -> str:
    """Return a part without its comments and indentation; no string of the scripts spans lines."""
    text = _COMMENTS.sub("", part.read_text(encoding="utf-8"))
    return "".join(f"{line.strip()}\n" for line in text.splitlines() if line.strip())


def _hash(inner: str) -> str:
    """Return the source expression that admits an element with this content, after its first line break."""
    digest = hashlib.sha256(f"\n{inner}".encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
