"""``/generate``, which extends the workshop app's ``GET /{prompt}``: a prompt in, whole sequences out."""

from functools import partial
from typing import Any

from starlette.responses import JSONResponse, Response

from generation.api.bodies import GenerateBody, parse_json, parse_query
from generation.api.cost import Cost
from generation.api.events import EventStream, event
from generation.api.exchange import Exchange
from generation.api.prompts import check_context, encode_one, timeout
from generation.api.route_values import route_value
from generation.config import Settings
from generation.engine.request import GenerationRequest, Item, Update
from generation.errors import InvalidRequestError, refused
from generation.sampling.params import SamplingParams
from generation.service import Loaded, Service


async def post(service: Service, exchange: Exchange) -> Response:
    """Answer ``POST /api/generate``."""
    body = parse_json(GenerateBody, await exchange.body(service.settings.max_body_kb * 1024))
    return await _respond(service, exchange, body, sequences_only=False)


async def get(service: Service, exchange: Exchange) -> Response:
    """Answer ``GET /api/generate/{*prompt}``, with the prompt in the path and other fields in the query."""
    request = exchange.request
    values: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name == "code":  # the function key, which the host has already checked
            continue
        if name == "stop":
            values.setdefault(name, []).append(value)
        elif name in values:
            raise InvalidRequestError(f"{name[:64]} is given more than once", param=name[:64])
        else:
            values[name] = value
    if "prompt" in values:
        raise InvalidRequestError("prompt: belongs in the path", param="prompt")
    body = parse_query(GenerateBody, values | {"prompt": route_value(request, "prompt")})
    return await _respond(service, exchange, body, sequences_only=True)


def _cost(body: GenerateBody, prompt_tokens: int, context: int) -> Cost:
    fields = ("prompt", "num_return_sequences", "max_new_tokens")
    echo = body.return_full_text
    return Cost(1, prompt_tokens, body.num_return_sequences, min(body.max_new_tokens, context), echo, fields=fields)


async def engine_request(body: GenerateBody, loaded: Loaded, settings: Settings) -> GenerationRequest:
    """Return the request to the engine.

    Raises:
        InvalidRequestError: or a subclass; the prompt does not fit, or the timeout is too long.
    """
    check_beams(body, settings)
    context = loaded.config.context
    prompt = await encode_one(body.prompt, _cost(body, 0, context), loaded, settings)
    check_context(len(prompt), body.max_new_tokens, context, "max_new_tokens")
    _cost(body, len(prompt), context).check(settings)
    return GenerationRequest(
        prompt=prompt,
        max_tokens=body.max_new_tokens,
        choices=max(body.num_return_sequences, body.num_beams),
        length_penalty=body.length_penalty if body.num_beams > 1 else None,
        sampling=SamplingParams(
            do_sample=body.do_sample, temperature=body.temperature, top_k=body.top_k, **body.sampling()
        ),
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        timeout_s=timeout(body.timeout_s, settings),
    )


def check_beams(body: GenerateBody, settings: Settings) -> None:
    """Refuse fields that contradict a beam search.

    Raises:
        InvalidRequestError: with the field that is wrong.
    """
    if body.num_beams == 1:
        if body.length_penalty != 1:
            raise refused("length_penalty", "only with num_beams above 1")
        return
    if body.num_beams > settings.max_running:
        raise refused("num_beams", f"at most {settings.max_running} beams can run at once, got {body.num_beams}")
    if body.do_sample:
        raise refused("do_sample", "beam search does not sample: must be false with num_beams above 1")
    if body.num_return_sequences > body.num_beams:
        raise refused("num_return_sequences", f"must be at most num_beams={body.num_beams}")
    if body.repetition_penalty != 1 or body.stop:
        raise refused("stop" if body.stop else "repetition_penalty", "not together with num_beams above 1")


class Whole:
    """Collects the engine's updates into a whole answer.

    A beam search reports every beam, the best first; surplus beams are dropped.
    """

    def __init__(self, body: GenerateBody, asked: GenerationRequest) -> None:
        self.texts = [body.prompt if body.return_full_text else ""] * body.num_return_sequences
        self.reasons: list[str | None] = [None] * body.num_return_sequences
        self._prompt_tokens = len(asked.prompt)
        self._generated = 0

    def add(self, item: Item) -> str:
        """Add an update; return its text."""
        if not isinstance(item, Update):
            return ""
        self._generated += item.generated
        if item.index >= len(self.texts):
            return ""
        self.texts[item.index] += item.text
        self.reasons[item.index] = item.finish_reason
        return item.text

    def response(self, *, sequences_only: bool = False) -> JSONResponse:
        """Return the answer: texts, finish reasons and usage, or the texts alone, as in the workshop app."""
        if sequences_only:
            return JSONResponse({"generated_sequences": self.texts})
        usage = {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._generated,
            "total_tokens": self._prompt_tokens + self._generated,
        }
        return JSONResponse({"generated_sequences": self.texts, "finish_reasons": self.reasons, "usage": usage})


async def _respond(service: Service, exchange: Exchange, body: GenerateBody, *, sequences_only: bool) -> Response:
    loaded = service.loaded()
    if service.settings.log_prompts == "on":
        exchange.record.note_prompts([body.prompt])
    asked = await engine_request(body, loaded, service.settings)
    stream = exchange.submit(loaded.engine, asked)
    if body.stream:
        before = body.prompt if body.return_full_text else ""
        first = "".join(event({"index": i, "text": before}) for i in range(body.num_return_sequences)) if before else ""
        return EventStream(
            exchange, stream, partial(_event, body.num_return_sequences), service.settings.keep_alive_s, first=first
        )
    whole = Whole(body, asked)
    for item in await exchange.collect(stream):
        whole.add(item)
    return whole.response(sequences_only=sequences_only)


def _event(sequences: int, item: Item) -> str:
    if not isinstance(item, Update) or item.index >= sequences:
        return ""
    data: dict[str, Any] = {"index": item.index, "text": item.text}
    if item.finish_reason is not None:
        data["finish_reason"] = item.finish_reason
    return event(data)
