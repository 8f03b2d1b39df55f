"""Serve OpenAI's ``/v1/chat/completions`` for models with a chat template."""

from dataclasses import replace

from starlette.responses import Response

from generation.api.bodies import parse_json
from generation.api.chat_body import ChatBody
from generation.api.chat_prompt import fingerprint, render, source
from generation.api.chat_response import ChatResponse
from generation.api.cost import Cost
from generation.api.events import EventStream
from generation.api.exchange import Exchange
from generation.api.openai_request import engine_request, reported_with_each
from generation.api.prompts import check_model, encode_one, room
from generation.api.slices import json_response
from generation.config import Settings
from generation.engine.request import GenerationRequest
from generation.service import Loaded, Service


async def post(service: Service, exchange: Exchange) -> Response:
    """Answer ``POST /api/v1/chat/completions``.

    Raises:
        InvalidRequestError: the body is invalid, or the model has no chat template.
    """
    content = await exchange.body(service.settings.max_body_kb * 1024)
    loaded = service.loaded()
    source(loaded)  # refuse any body if there is no template
    body = parse_json(ChatBody, content).check()
    check_model(body.model, loaded)
    text = await render(
        [one.for_template() for one in body.messages], loaded, add_generation_prompt=body.add_generation_prompt
    )
    if service.settings.log_prompts == "on":
        exchange.record.note_prompts([text])
    asked = await chat_request(body, text, loaded, service.settings)
    response = ChatResponse(body, loaded, asked.prompt, fingerprint(loaded))
    stream = exchange.submit(loaded.engine, asked)
    response.timelines = stream.timelines
    if body.stream:
        keep_alive_s = service.settings.keep_alive_s
        return EventStream(exchange, stream, response.event, keep_alive_s, last=response.last_events)
    return await json_response(await response.whole(await exchange.collect(stream)))


async def chat_request(body: ChatBody, text: str, loaded: Loaded, settings: Settings) -> GenerationRequest:
    """Return the request to the engine; `text` is the rendered prompt, which already has its special tokens.

    Raises:
        InvalidRequestError: or a subclass; the prompt does not fit, or a field is not supported.
    """
    context, name = loaded.config.context, body.new_tokens_field
    cost = Cost(
        1,
        0,
        body.choices,
        min(body.new_tokens or 1, context),
        logprobs=reported_with_each(body, loaded.tokenizer.vocabulary),
        fields=("messages", "n", name),
    )
    prompt = await encode_one(text, cost, loaded, settings, add_special_tokens=False)
    new_tokens = room(len(prompt), body.new_tokens, context, ("messages", name))
    body.check_least(new_tokens, name)
    replace(cost, prompt_tokens=len(prompt), new_tokens=new_tokens).check(settings)
    return replace(await engine_request(body, new_tokens, loaded, settings), prompt=prompt)
