"""The plain contract, which grew out of the workshop's ``GET /{prompt}``: text in, whole sequences out."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from generation.config import Settings
from generation.errors import InvalidRequestError
from generation.http import EventStream, collect, event, read_body
from generation.prompting import check_context, encode, timeout
from generation.requestlog import note_prompts
from generation.route_values import route_value
from generation.sampling import SamplingParams
from generation.schemas import GenerateBody, parse_json, parse_query
from generation.sequence import Request as EngineRequest
from generation.sequence import Update
from generation.service import Loaded, Service
from generation.stream import Item


async def post(service: Service, request: Request) -> Response:
    """Answer ``POST /api/generate``."""
    body = parse_json(GenerateBody, await read_body(request, service.settings.max_body_kb * 1024))
    return await _respond(service, request, body, sequences_only=False)


async def get(service: Service, request: Request) -> Response:
    """Answer ``GET /api/generate/{*prompt}``, the workshop's call: the prompt in the path, the rest in the query."""
    values: dict[str, Any] = {}
    for name in request.query_params:
        given = request.query_params.getlist(name)
        values[name] = given if name == "stop" else given[-1]
        if name != "stop" and len(given) > 1:
            raise InvalidRequestError(f"{name} is given {len(given)} times", param=name[:64])
    values.pop("code", None)  # the function key, which the host has already checked
    if "prompt" in values:
        raise InvalidRequestError("prompt belongs into the path", param="prompt")
    body = parse_query(GenerateBody, values | {"prompt": route_value(request, "prompt")})
    return await _respond(service, request, body, sequences_only=True)


async def engine_request(body: GenerateBody, loaded: Loaded, settings: Settings) -> EngineRequest:
    """Return what the engine is asked for.

    Raises:
        InvalidRequestError: or one of its kin; the prompt does not fit, or takes too long.
    """
    prompt = await encode(loaded.tokenizer, body.prompt)
    check_context(len(prompt), body.max_new_tokens, loaded.config.context, "max_new_tokens")
    return EngineRequest(
        prompt=prompt,
        max_tokens=body.max_new_tokens,
        choices=body.num_return_sequences,
        sampling=SamplingParams(
            do_sample=body.do_sample, temperature=body.temperature, top_k=body.top_k, **body.sampling()
        ),
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        timeout_s=timeout(body.timeout_s, settings),
    )


class Whole:
    """An answer that is whole at its end, gathered from the parts that come out of the engine."""

    def __init__(self, body: GenerateBody, asked: EngineRequest) -> None:
        self.texts = [body.prompt if body.return_full_text else ""] * asked.choices
        self.reasons: list[str | None] = [None] * asked.choices
        self._prompt_tokens = len(asked.prompt)
        self._generated = 0

    def add(self, item: Item) -> str:
        """Take in a part; return its text."""
        if not isinstance(item, Update):
            return ""
        self.texts[item.index] += item.text
        self.reasons[item.index] = item.finish_reason
        self._generated += item.generated
        return item.text

    def response(self, *, sequences_only: bool = False) -> JSONResponse:
        """Return the answer: texts, finish reasons and usage, or the texts alone as the workshop had them."""
        if sequences_only:
            return JSONResponse({"generated_sequences": self.texts})
        usage = {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._generated,
            "total_tokens": self._prompt_tokens + self._generated,
        }
        return JSONResponse({"generated_sequences": self.texts, "finish_reasons": self.reasons, "usage": usage})


async def _respond(service: Service, request: Request, body: GenerateBody, *, sequences_only: bool) -> Response:
    loaded = service.loaded()
    if service.settings.log_prompts == "on":
        note_prompts(body.prompt)
    asked = await engine_request(body, loaded, service.settings)
    stream = loaded.engine.submit(asked)
    if body.stream:
        before = body.prompt if body.return_full_text else ""
        first = "".join(event({"index": i, "text": before}) for i in range(asked.choices)) if before else ""
        return EventStream(stream, _event, service.settings.keep_alive_s, first=first)
    whole = Whole(body, asked)
    for item in await collect(request, stream):
        whole.add(item)
    return whole.response(sequences_only=sequences_only)


def _event(item: Item) -> str:
    if not isinstance(item, Update):
        return ""
    data: dict[str, Any] = {"index": item.index, "text": item.text}
    if item.finish_reason is not None:
        data["finish_reason"] = item.finish_reason
    return event(data)
