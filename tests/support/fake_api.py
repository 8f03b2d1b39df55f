"""Call the handlers of the OpenAI contract on a fake model, without a network or a host."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2
import openai
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from generation.api import chat, completions
from generation.api.handler import answer
from generation.config import Settings
from generation.engine.engine import Engine
from generation.engine.scheduler import Limits
from generation.model.artifact import ArtifactConfig
from generation.service import Loaded, Service
from generation.text.tokenizer import Tokenizer
from tests.support.fakes import END, VOCABULARY, ByteTokenizer, FakeModel

CONFIG = ArtifactConfig(
    layers=1,
    heads=1,
    head_size=1,
    width=1,
    vocabulary=VOCABULARY,
    context=4096,
    tokens=VOCABULARY,
    holes=[],
    ends_of_text=[END],
    begin_of_text=END,
    precision="fp32",
    cache="float32",
    files={"model.onnx": "0" * 64},
    source={"model": "fake"},
)


def tokenizer() -> Tokenizer:
    """Return a tokenizer whose tokens are bytes."""
    return cast("Tokenizer", ByteTokenizer())


def loaded(model: FakeModel, chat_template: str | None = None) -> Loaded:
    """Start an engine on `model`, whose cache must have two staging rows; return it as a loaded model."""
    limits = Limits(rows=len(model.cache.rows) - 2, staging=2, tokens=1 << 20, chunk=64, waiting=2)
    engine = Engine(model, tokenizer(), limits)
    engine.start()
    return Loaded(CONFIG, tokenizer(), engine, chat_template)


def service(model: FakeModel | None = None, chat_template: str | None = None) -> Service:
    """Return a service with `model`; without a model, it stays in the state ``loading``."""
    result = Service(Settings())
    if model is not None:
        result._loaded = loaded(model, chat_template)
    return result


@asynccontextmanager
async def client(served: Service, **options: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """Yield an unmodified client whose requests `served` answers; by default without retries."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        contract: Any = chat if scope["path"] == "/v1/chat/completions" else completions
        response = await answer("completions", Request(scope, receive), lambda one: contract.post(served, one))
        await response(scope, receive, send)

    transport = httpx2.AsyncClient(transport=httpx2.ASGITransport(app))
    async with openai.AsyncOpenAI(
        base_url="http://test/v1", api_key="unused", http_client=transport, **({"max_retries": 0} | options)
    ) as one:
        yield one
    served.stop()
