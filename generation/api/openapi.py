"""``GET /api/openapi.json``, and the same as a page. Both are built at the first request for them."""

import asyncio
import json
from functools import lru_cache

from starlette.responses import Response

from generation.service import Service


async def get(service: Service) -> Response:
    """Answer ``GET /api/openapi.json``."""
    return Response(await asyncio.to_thread(_content, keys=_keys(service)), media_type="application/json")


async def page(service: Service) -> Response:
    """Answer ``GET /api/reference``. The page has no script and makes no requests."""
    content, policy = await asyncio.to_thread(_page, keys=_keys(service))
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
    return Response(content, media_type="text/html", headers=headers)


def _keys(service: Service) -> str:
    return "bearer" if service.settings.api_keys else service.settings.auth_level


@lru_cache
def _page(*, keys: str) -> tuple[bytes, str]:
    from generation.api.openapi_document import document
    from generation.api.openapi_page import POLICY, render

    return render(document(keys=keys)).encode(), POLICY


@lru_cache
def _content(*, keys: str) -> bytes:
    from generation.api.openapi_document import document  # imported here: nothing else needs it

    return json.dumps(document(keys=keys), ensure_ascii=False).encode()
