"""``GET /api/playground``: one page to try the server with. It asks nothing of any other place."""

import base64
import hashlib
import re
from functools import lru_cache
from pathlib import Path

from starlette.responses import Response

PAGE = Path(__file__).with_name("playground.html")


async def get() -> Response:
    """Answer ``GET /api/playground``."""
    content, policy = _page()
    return Response(
        content,
        media_type="text/html",
        headers={
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-cache",
        },
    )


@lru_cache
def _page() -> tuple[str, str]:
    """Return the page and a policy that lets in its own script and style, by their hashes, and nothing else."""
    content = PAGE.read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {_hash(content, 'script')}; style-src {_hash(content, 'style')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return content, policy


def _hash(content: str, tag: str) -> str:
    (inner,) = re.findall(rf"<{tag}>(.*?)</{tag}>", content, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()}'"
