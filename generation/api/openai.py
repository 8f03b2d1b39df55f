"""Loads OpenAI's contract lazily: after the model, or with the first request if that comes sooner."""

import asyncio
from types import ModuleType
from typing import Any

from starlette.responses import Response

from generation.api.exchange import Exchange
from generation.service import Service

_loaded: ModuleType | None = None


def prepare() -> ModuleType:
    """Import the contract and build its models, which would slow the cold start; return it."""
    global _loaded  # noqa: PLW0603 - a module is loaded once a process
    from generation.api import completions, completions_body

    completions_body.CompletionBody.model_rebuild()
    _loaded = completions
    return completions


async def post(service: Service, exchange: Exchange) -> Response:
    """Answer ``POST /api/v1/completions``."""
    contract: Any = _loaded or await asyncio.to_thread(prepare)
    response: Response = await contract.post(service, exchange)
    return response
