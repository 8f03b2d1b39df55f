"""The HTTP triggers: routes, methods and key levels. What they do is in `generation`.

The host matches routes in the alphabetical order of the function names, and the first match wins. Handlers are
annotated with the classes of the http extension, which is what makes streaming work on Functions; never with more than
one class.
"""

import azure.functions as func
from azure.functions.warmup import WarmUpContext  # the package lists it in its __all__ and does not import it
from azurefunctions.extensions.http.fastapi import Request, Response

from generation import completions as openai
from generation import generate as plain
from generation import health as status
from generation import metrics as prometheus
from generation import models as model_list
from generation import openapi as contract
from generation import playground as page
from generation import tokenize as tokens
from generation.config import Settings
from generation.container_stop import when_told
from generation.http import answer
from generation.route_values import route_value
from generation.service import Service
from generation.worker import adapt_worker_server

adapt_worker_server()
service = Service(Settings.from_environment()).start()
when_told(service.stop)
app = func.FunctionApp(http_auth_level=func.AuthLevel[service.settings.auth_level.upper()])


@app.route("health", methods=["GET", "HEAD"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: Request) -> Response:
    """Say whether the process lives, and what it serves."""
    return await answer("health", req, lambda _: status.health(service))


@app.route("ready", methods=["GET", "HEAD"], auth_level=func.AuthLevel.ANONYMOUS)
async def ready(req: Request) -> Response:
    """Say whether the process can serve."""
    return await answer("ready", req, lambda _: status.ready(service))


@app.route("generate", methods=["POST"])
async def generate(req: Request) -> Response:
    """Generate text from a JSON body."""
    return await answer("generate", req, lambda request: plain.post(service, request))


@app.route("generate/{*prompt}", methods=["GET"])
async def generate_path(req: Request) -> Response:
    """Generate text from a prompt in the path."""
    return await answer("generate_path", req, lambda request: plain.get(service, request))


@app.route("v1/completions", methods=["POST"])
async def completions(req: Request) -> Response:
    """Generate text, as OpenAI's completions API does."""
    return await answer("completions", req, lambda request: openai.post(service, request))


@app.route("v1/models", methods=["GET"])
async def models(req: Request) -> Response:
    """List the served model."""
    return await answer("models", req, lambda _: model_list.many(service))


@app.route("v1/models/{model}", methods=["GET"])
async def models_one(req: Request) -> Response:
    """Describe the served model."""
    return await answer("models_one", req, lambda request: model_list.one(service, route_value(request, "model")))


@app.route("v1/chat/completions", methods=["POST"])
async def chat_completions(req: Request) -> Response:
    """Say that this is no chat model."""
    return await answer("chat_completions", req, lambda _: model_list.chat())


@app.route("tokenize", methods=["POST"])
async def tokenize(req: Request) -> Response:
    """Split text into tokens."""
    return await answer("tokenize", req, lambda request: tokens.tokenize(service, request))


@app.route("detokenize", methods=["POST"])
async def detokenize(req: Request) -> Response:
    """Join tokens to text."""
    return await answer("detokenize", req, lambda request: tokens.detokenize(service, request))


@app.route("openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def openapi(req: Request) -> Response:
    """Describe the whole surface."""
    return await answer("openapi", req, lambda _: contract.get(service))


@app.route("metrics", methods=["GET"])
async def metrics(req: Request) -> Response:
    """Report what was counted, for Prometheus."""
    return await answer("metrics", req, lambda _: prometheus.get(service))


@app.route("playground", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def playground(req: Request) -> Response:
    """Show a page to try it."""
    return await answer("playground", req, lambda _: page.get())


@app.warm_up_trigger("context")
async def warmup(context: WarmUpContext) -> None:  # noqa: ARG001
    """Hold a new instance back until it can serve. The platform asks for this name."""
    await status.warm_up(service)
