"""Load API contracts lazily, because building their pydantic models would slow the cold start.

OpenAI's completions are loaded after the model, or with their first request if that is earlier. Chat completions and
Hugging Face's contract are loaded with their first request.
"""

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import Any

from starlette.responses import Response

from generation.api.exchange import Exchange
from generation.service import Service


class Contract:
    """A lazily loaded module whose `post` answers requests. `load` imports it and builds its models."""

    def __init__(self, load: Callable[[], ModuleType]) -> None:
        self._load = load
        self._module: Any = None

    def prepare(self) -> Any:
        """Load the contract; return its module."""
        if self._module is None:
            self._module = self._load()
        return self._module

    async def post(self, service: Service, exchange: Exchange) -> Response:
        """Answer a request; the first call loads the contract in a thread."""
        module = self._module or await asyncio.to_thread(self.prepare)
        response: Response = await module.post(service, exchange)
        return response


def _completions() -> ModuleType:
    from generation.api import completions, completions_body

    completions_body.CompletionBody.model_rebuild()
    return completions


def _hf() -> ModuleType:
    from generation.api import hf, hf_body

    hf_body.HfBody.model_rebuild()
    return hf


def _chat() -> ModuleType:
    from generation.api import chat, chat_body

    chat_body.ChatBody.model_rebuild()
    return chat


completions, chat, hf = Contract(_completions), Contract(_chat), Contract(_hf)
