"""The HTTP triggers: routes, methods and key levels. What they do is in `generation.api`.

The host matches routes in the alphabetical order of the function names, and the first match wins.
"""

import azure.functions as func
from azure.functions.warmup import WarmUpContext  # the package lists it in its __all__ and does not import it
from starlette.responses import Response

from generation.api import completions as openai
from generation.api import generate as plain
from generation.api import health as status
from generation.api import metrics as prometheus
from generation.api import models as model_list
from generation.api import openapi as contract
from generation.api import playground as page
from generation.api import tokenize as tokens
from generation.api.container_stop import when_told
from generation.api.exchange import Exchange
from generation.api.handler import handler
from generation.api.route_values import route_value
from generation.api.worker import adapt_worker_server
from generation.config import Settings
from generation.service import Service

adapt_worker_server()
service = Service(Settings.from_environment()).start()
when_told(service.stop)
app = func.FunctionApp(http_auth_level=func.AuthLevel[service.settings.auth_level.upper()])


@app.route("health", methods=["GET", "HEAD"], auth_level=func.AuthLevel.ANONYMOUS)
@handler
async def health(_: Exchange) -> Response:
    """Say whether the process lives, and what it serves."""
    return await status.health(service)


@app.route("ready", methods=["GET", "HEAD"], auth_level=func.AuthLevel.ANONYMOUS)
@handler
async def ready(_: Exchange) -> Response:
    """Say whether the process can serve."""
    return await status.ready(service)


@app.route("generate", methods=["POST"])
@handler
async def generate(exchange: Exchange) -> Response:
    """Generate text from a JSON body."""
    return await plain.post(service, exchange)


@app.route("generate/{*prompt}", methods=["GET"])
@handler
async def generate_path(exchange: Exchange) -> Response:
    """Generate text from a prompt in the path."""
    return await plain.get(service, exchange)


@app.route("v1/completions", methods=["POST"])
@handler
async def completions(exchange: Exchange) -> Response:
    """Generate text, as OpenAI's completions API does."""
    return await openai.post(service, exchange)


@app.route("v1/models", methods=["GET"])
@handler
async def models(_: Exchange) -> Response:
    """List the served model."""
    return await model_list.many(service)


@app.route("v1/models/{model}", methods=["GET"])
@handler
async def models_one(exchange: Exchange) -> Response:
    """Describe the served model."""
    return await model_list.one(service, route_value(exchange.request, "model"))


@app.route("v1/chat/completions", methods=["POST"])
@handler
async def chat_completions(_: Exchange) -> Response:
    """Refuse: this is not a chat model."""
    return await model_list.chat()


@app.route("tokenize", methods=["POST"])
@handler
async def tokenize(exchange: Exchange) -> Response:
    """Split text into tokens."""
    return await tokens.tokenize(service, exchange)


@app.route("detokenize", methods=["POST"])
@handler
async def detokenize(exchange: Exchange) -> Response:
    """Join tokens to text."""
    return await tokens.detokenize(service, exchange)


@app.route("openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@handler
async def openapi(_: Exchange) -> Response:
    """Describe the whole API."""
    return await contract.get(service)


@app.route("metrics", methods=["GET"])
@handler
async def metrics(_: Exchange) -> Response:
    """Report the metrics for Prometheus."""
    return await prometheus.get(service)


@app.route("playground", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@handler
async def playground(_: Exchange) -> Response:
    """Show a page to try the model."""
    return await page.get()


@app.warm_up_trigger("context")
async def warmup(context: WarmUpContext) -> None:  # noqa: ARG001
    """Hold a new instance back until it can serve. The platform asks for this name."""
    await status.warm_up(service)
