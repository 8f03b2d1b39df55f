"""The HTTP triggers: routes, methods and key levels. `generation.api` implements them.

The host matches routes in alphabetical order of the function names; the first match wins.
"""

from collections.abc import Callable
from typing import Any

import azure.functions as func
from azure.functions.warmup import WarmUpContext  # the package lists it in its __all__ and does not import it
from starlette.responses import Response

from generation.api import contracts
from generation.api import generate as plain
from generation.api import health as status
from generation.api import metrics as prometheus
from generation.api import models as model_list
from generation.api import openapi as contract
from generation.api import playground as page
from generation.api import tokenize as tokens
from generation.api.container_stop import on_container_stop
from generation.api.exchange import Exchange, Operation
from generation.api.handler import handler
from generation.api.hf_errors import error_form as hf_form
from generation.api.keys import ApiKeys
from generation.api.route_values import route_value
from generation.api.worker import adapt_worker_server
from generation.config import Settings
from generation.errors import ErrorForm, openai_form
from generation.service import Service

adapt_worker_server()
service = Service(Settings.from_environment()).start(then=contracts.completions.prepare)
on_container_stop(service.stop)
app = func.FunctionApp(http_auth_level=func.AuthLevel[service.settings.host_level.upper()])
keys = ApiKeys(service.settings.api_keys)


def route(
    method: str, template: str, *, keyed: bool = True, head: bool = False, error_form: ErrorForm = openai_form
) -> Callable[[Operation], Any]:
    """Register an operation under a route; with `keyed` it requires a key, the host's or the app's own."""
    level = None if keyed else func.AuthLevel.ANONYMOUS
    methods = [method, "HEAD"] if head else [method]

    def register(operation: Operation) -> Any:
        guarded = keys.guard(operation) if keyed else operation
        return app.route(template, methods=methods, auth_level=level)(handler(guarded, template, error_form))

    return register


@route("GET", "health", keyed=False, head=True)
async def health(_: Exchange) -> Response:
    """Report whether the process works, and what it serves."""
    return await status.health(service)


@route("GET", "ready", keyed=False, head=True)
async def ready(_: Exchange) -> Response:
    """Report whether the process can serve."""
    return await status.ready(service)


@route("POST", "generate")
async def generate(exchange: Exchange) -> Response:
    """Generate text from a JSON body."""
    return await plain.post(service, exchange)


@route("GET", "generate/{*prompt}")
async def generate_path(exchange: Exchange) -> Response:
    """Generate text from a prompt in the path."""
    return await plain.get(service, exchange)


@route("POST", "v1/completions")
async def completions(exchange: Exchange) -> Response:
    """Generate text, as OpenAI's completions API does."""
    return await contracts.completions.post(service, exchange)


@route("POST", "hf", error_form=hf_form)
async def hf(exchange: Exchange) -> Response:
    """Generate text, as Hugging Face's text-generation-inference does."""
    return await contracts.hf.post(service, exchange)


@route("GET", "v1/models")
async def models(_: Exchange) -> Response:
    """List the served model."""
    return await model_list.many(service)


@route("GET", "v1/models/{model}")
async def models_one(exchange: Exchange) -> Response:
    """Describe the served model."""
    return await model_list.one(service, route_value(exchange.request, "model"))


@route("POST", "v1/chat/completions")
async def chat_completions(exchange: Exchange) -> Response:
    """Answer a chat, as OpenAI's chat completions API does, if the model has a chat template."""
    return await contracts.chat.post(service, exchange)


@route("POST", "tokenize")
async def tokenize(exchange: Exchange) -> Response:
    """Split text into tokens."""
    return await tokens.tokenize(service, exchange)


@route("POST", "detokenize")
async def detokenize(exchange: Exchange) -> Response:
    """Convert tokens to text."""
    return await tokens.detokenize(service, exchange)


@route("GET", "tokenizer_info")
async def tokenizer_info(_: Exchange) -> Response:
    """Describe the tokenizer."""
    return await tokens.info(service)


@route("GET", "version", keyed=False)
async def version(_: Exchange) -> Response:
    """Report the running version."""
    return await model_list.version()


@route("GET", "reference", keyed=False)
async def reference(_: Exchange) -> Response:
    """Return the API reference as a page."""
    return await contract.page(service)


@route("GET", "openapi.json", keyed=False)
async def openapi(_: Exchange) -> Response:
    """Return the OpenAPI document."""
    return await contract.get(service)


@route("GET", "metrics")
async def metrics(_: Exchange) -> Response:
    """Return the metrics in Prometheus's format."""
    return await prometheus.get(service)


@route("GET", "playground", keyed=False)
async def playground(_: Exchange) -> Response:
    """Return a page to try the model."""
    return await page.get()


@route("GET", "playground/chat", keyed=False)
async def playground_chat(_: Exchange) -> Response:
    """Return a page to chat with the model."""
    return await page.chat()


@app.warm_up_trigger("context")
async def warmup(context: WarmUpContext) -> None:  # noqa: ARG001
    """Delay a new instance until it can serve. The platform requires this function name."""
    await status.warm_up(service)
