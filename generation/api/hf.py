"""Serve ``POST /api/hf``, compatible with the root route of Hugging Face's text-generation-inference.

``huggingface_hub.InferenceClient(model=URL).text_generation`` and the client `text_generation` post to the given URL.
"""

import secrets
from dataclasses import replace

from starlette.responses import Response

from generation.api.bodies import SEED_LIMIT, parse_json
from generation.api.cost import Cost
from generation.api.events import EventStream
from generation.api.exchange import Exchange
from generation.api.hf_body import DEFAULT_TOKENS, HfBody
from generation.api.hf_response import HfResponse
from generation.api.prompts import encode_one, room, timeout
from generation.api.slices import json_response
from generation.config import Settings
from generation.engine.request import GenerationRequest
from generation.sampling.grammar import make_guide
from generation.sampling.params import SamplingParams
from generation.service import Loaded, Service

FIELDS = ("inputs", "parameters.max_new_tokens")


async def post(service: Service, exchange: Exchange) -> Response:
    """Answer ``POST /api/hf``, streamed or whole."""
    body = parse_json(HfBody, await exchange.body(service.settings.max_body_kb * 1024)).check()
    loaded = service.loaded()
    if service.settings.log_prompts == "on":
        exchange.record.note_prompts([body.inputs])
    asked = await engine_request(body, loaded, service.settings)
    response = HfResponse(body, asked, loaded.tokenizer)
    stream = exchange.submit(loaded.engine, asked)
    if body.stream:
        return EventStream(exchange, stream, response.event, service.settings.keep_alive_s, done="")
    return await json_response([await response.whole(await exchange.collect(stream))])


async def engine_request(body: HfBody, loaded: Loaded, settings: Settings) -> GenerationRequest:
    """Return the request to the engine.

    Raises:
        InvalidRequestError: or a subclass; the prompt does not fit, or the grammar cannot be used.
    """
    given, context = body.parameters, loaded.config.context
    cost = _cost(body, min(given.max_new_tokens or 1, context))
    prompt = await encode_one(body.inputs, cost, loaded, settings, cut=given.truncate is not None)
    prompt = prompt[-(given.truncate or len(prompt)) :]
    new_tokens = room(len(prompt), given.max_new_tokens, context, FIELDS)
    if given.max_new_tokens is None:
        new_tokens = min(new_tokens, DEFAULT_TOKENS)
    replace(cost, prompt_tokens=len(prompt), new_tokens=new_tokens).check(settings)
    seed = secrets.randbelow(SEED_LIMIT) if given.seed is None else given.seed
    return GenerationRequest(
        prompt=prompt,
        max_tokens=new_tokens,
        choices=given.best_of,
        sampling=SamplingParams(
            do_sample=given.samples,
            temperature=given.temperature,
            top_k=given.top_k or 0,
            top_p=given.top_p,
            typical_p=given.typical_p,
            repetition_penalty=given.repetition_penalty,
            frequency_penalty=given.frequency_penalty,
            seed=seed if given.samples else None,
        ),
        stop=given.stops,
        include_stop=True,
        logprobs=cost.logprobs,
        score_prompt=given.decoder_input_details,
        timeout_s=timeout(None, settings),
        guide=await make_guide(loaded.tokenizer, given.constraint()),
    )


def _cost(body: HfBody, new_tokens: int) -> Cost:
    given = body.parameters
    # Clients require a log-probability for each token. `best_of` ranks sequences by their log-probabilities.
    reported = given.detailed or body.stream or given.best_of > 1
    return Cost(
        1,
        0,
        given.best_of,
        new_tokens,
        given.return_full_text,
        given.top_n_tokens if reported else None,
        0 if given.decoder_input_details else None,
        fields=("inputs", "parameters.best_of", "parameters.max_new_tokens"),
    )
