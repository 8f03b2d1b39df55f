"""``GET /api/openapi.json``. The document is made when somebody first asks for it."""

import asyncio
import json
from functools import lru_cache

from starlette.responses import Response

from generation.service import Service


async def get(service: Service) -> Response:
    """Answer ``GET /api/openapi.json``."""
    content = await asyncio.to_thread(_content, keyed=service.settings.auth_level == "function")
    return Response(content, media_type="application/json")


@lru_cache
def _content(*, keyed: bool) -> bytes:
    from generation.api.openapi_document import document  # imports what nothing else needs

    return json.dumps(document(keyed=keyed), ensure_ascii=False).encode()
