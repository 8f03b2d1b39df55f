"""``GET /api/openapi.json``. The document is made when somebody first asks for it."""

import asyncio
import json
from functools import lru_cache

from starlette.responses import Response

from generation.service import Service


async def get(service: Service) -> Response:
    """Answer ``GET /api/openapi.json``."""
    settings = service.settings
    content = await asyncio.to_thread(_content, keys="bearer" if settings.api_keys else settings.auth_level)
    return Response(content, media_type="application/json")


@lru_cache
def _content(*, keys: str) -> bytes:
    from generation.api.openapi_document import document  # imports what nothing else needs

    return json.dumps(document(keys=keys), ensure_ascii=False).encode()
