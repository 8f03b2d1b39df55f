"""OpenAI's list of models, with one entry."""

from typing import Any

from starlette.responses import JSONResponse, Response

from generation import __version__
from generation.api.prompts import check_model
from generation.service import Loaded, Service


def _card(service: Service, loaded: Loaded) -> dict[str, Any]:
    return {
        "id": loaded.config.name,
        "object": "model",
        "created": int(service.started),
        "owned_by": "distilgpt2-functions",
        "root": loaded.config.name,
        "parent": None,
        "max_model_len": loaded.config.context,
    }


async def many(service: Service) -> Response:
    """Answer ``GET /api/v1/models``."""
    return JSONResponse({"object": "list", "data": [_card(service, service.loaded())]})


async def one(service: Service, name: str) -> Response:
    """Answer ``GET /api/v1/models/{model}``.

    Raises:
        ModelNotFoundError: it is not the served model.
    """
    loaded = service.loaded()
    check_model(name, loaded)
    return JSONResponse(_card(service, loaded))


async def version() -> Response:
    """Answer ``GET /api/version``."""
    return JSONResponse({"version": __version__})
