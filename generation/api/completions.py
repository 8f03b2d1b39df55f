"""OpenAI's ``/v1/completions``. The reference is OpenAI's description, then vLLM's server."""

import asyncio
from dataclasses import replace

from starlette.responses import Response

from generation.api.bodies import parse_json
from generation.api.completions_body import CompletionBody
from generation.api.completions_response import CompletionResponse
from generation.api.cost import Cost, least_tokens
from generation.api.events import EventStream
from generation.api.exchange import Exchange
from generation.api.openai_request import alternatives, engine_request, reported_with_each
from generation.api.prompts import check_context, check_ids, check_length, check_model, encode
from generation.api.slices import json_response
from generation.config import Settings
from generation.engine.request import GenerationRequest
from generation.service import Loaded, Service


async def post(service: Service, exchange: Exchange) -> Response:
    """Answer ``POST /api/v1/completions``."""
    body = parse_json(CompletionBody, await exchange.body(service.settings.max_body_kb * 1024)).check()
    loaded = service.loaded()
    check_model(body.model, loaded)
    if service.settings.log_prompts == "on":
        exchange.record.note_prompts(body.prompt)
    longest, context = loaded.tokenizer.longest, loaded.config.context
    whole = body.truncate_prompt_tokens is None
    least = least_tokens(body.prompt, longest) if whole else len(body.prompt)
    _cost(body, least, loaded).check(service.settings)
    for prompt in body.prompt if whole else ():
        if isinstance(prompt, str):
            check_length(prompt, longest, context)
        else:
            check_context(len(prompt), body.max_tokens, context, "max_tokens")
    prompts = await _prompts(body, loaded)
    for ids in prompts:
        check_context(len(ids), body.max_tokens, context, "max_tokens")
    _cost(body, sum(map(len, prompts)), loaded).check(service.settings)
    requests = await _engine_requests(body, prompts, loaded, service.settings)
    completion = CompletionResponse(body, loaded, prompts)
    stream = exchange.submit(loaded.engine, *requests)
    completion.timelines = stream.timelines
    if body.stream:
        keep_alive_s = service.settings.keep_alive_s
        return EventStream(exchange, stream, completion.event, keep_alive_s, last=completion.last_events)
    return await json_response(await completion.whole(await exchange.collect(stream)))


def _cost(body: CompletionBody, prompt_tokens: int, loaded: Loaded) -> Cost:
    vocabulary = loaded.tokenizer.vocabulary
    return Cost(
        len(body.prompt),
        prompt_tokens,
        body.choices,
        min(body.max_tokens, loaded.config.context),
        body.echo,
        reported_with_each(body, vocabulary),
        alternatives(body.prompt_logprobs, vocabulary),
        fields=("prompt", "best_of" if body.best_of else "n", "max_tokens"),
    )


async def _prompts(body: CompletionBody, loaded: Loaded) -> list[tuple[int, ...]]:
    """Return the token ids of every prompt, truncated where the request asks for it."""
    keep = body.truncate_prompt_tokens
    if keep == -1:
        keep = max(loaded.config.context - body.max_tokens, 1)
    result = []
    for one in body.prompt:
        if isinstance(one, str):
            ids = await encode(loaded.tokenizer, one, add_special_tokens=body.add_special_tokens)
        else:
            ids = one
        check_ids(loaded.tokenizer, ids, "prompt", "prompt")
        if keep is not None:
            ids = ids[-keep:] if body.truncation_side == "left" else ids[:keep]
        result.append(ids)
        await asyncio.sleep(0)  # there may be thousands: other requests run in between
    return result


async def _engine_requests(
    body: CompletionBody, prompts: list[tuple[int, ...]], loaded: Loaded, settings: Settings
) -> list[GenerationRequest]:
    of_prompt = [body.prompt_logprobs] + ([body.reported] if body.echo else [])
    scored = [alternatives(one, loaded.tokenizer.vocabulary) or 0 for one in of_prompt if one is not None]
    asked = replace(
        await engine_request(body, body.max_tokens, loaded, settings),
        score_prompt=bool(scored),
        prompt_logprobs=max(scored, default=0),
        length_penalty=body.length_penalty if body.use_beam_search else None,
        echo=body.echo,
    )
    return [replace(asked, prompt=prompt, number=number) for number, prompt in enumerate(prompts)]
