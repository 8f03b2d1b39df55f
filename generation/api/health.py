"""Liveness and readiness."""

import asyncio
import contextlib
from typing import Any

from starlette.responses import JSONResponse, Response

from generation import __version__
from generation.engine.request import GenerationRequest
from generation.errors import ApiError
from generation.service import Service, State

WARM_UP_S = 100.0
FIRST_TOKEN_S = 10.0


async def health(service: Service) -> Response:
    """Answer ``GET /api/health``: 200 while the process is loading, ready or draining; 503 when it must be replaced."""
    config = service.model_config()
    model: dict[str, Any] | None = None
    if config is not None:
        model = {
            "name": config.name,
            "precision": config.precision,
            "context": config.context,
            "vocabulary": config.tokens,
            "source_revision": config.source.get("revision"),
            "chat": bool(service.settings.chat_template or config.chat_template),
        }
    content: dict[str, Any] = {
        "health": "ok" if service.reason is None else "failed",
        "version": __version__,
        "revision": service.settings.git_sha or None,
        "state": service.state,
        "model": model,
        "uptime_s": round(service.uptime_s, 3),
        "load_s": None if service.load_s is None else round(service.load_s, 3),
    }
    if service.reason is not None:
        content["reason"] = service.reason
    return JSONResponse(content, 503 if service.state is State.FAILED else 200)


async def warm_up(service: Service) -> None:
    """Wait until the model is loaded and has computed a token: the first token is slower than later ones."""
    await asyncio.to_thread(service.wait, WARM_UP_S)
    with contextlib.suppress(ApiError):  # `ready` and `health` report a model that cannot be served
        loaded = service.loaded()
        first = GenerationRequest((loaded.tokenizer.begin_of_text or 0,), 1, timeout_s=FIRST_TOKEN_S)
        async for _ in loaded.engine.submit(first):
            pass


async def ready(service: Service) -> Response:
    """Answer ``GET /api/ready``: 200 when requests can be served.

    Raises:
        NotReadyError: requests cannot be served.
    """
    service.loaded()
    return JSONResponse({"ready": True})
