"""OpenAI's list of models, with one entry, and the refusal of chat requests."""

from typing import Any

from starlette.responses import JSONResponse, Response

from generation import __version__
from generation.api.prompts import check_model
from generation.errors import InvalidRequestError
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


async def chat() -> Response:
    """Answer ``POST /api/v1/chat/completions``.

    Raises:
        InvalidRequestError: always; this is not a chat model.
    """
    message = "this is not a chat model: call /api/v1/completions with a prompt instead"
    raise InvalidRequestError(message, param="messages")
