"""OpenAI's ``/v1/completions`` on our engine. The reference is OpenAI's description, then vLLM's server."""

import asyncio

from starlette.responses import JSONResponse, Response

from generation.api.bodies import parse_json
from generation.api.completions_body import CompletionBody
from generation.api.completions_response import CompletionResponse
from generation.api.completions_sampling import sampling_params
from generation.api.events import EventStream
from generation.api.exchange import Exchange
from generation.api.prompts import check_context, check_model, encode, timeout
from generation.config import Settings
from generation.engine.request import GenerationRequest
from generation.errors import InvalidRequestError, TooLargeError
from generation.sampling.grammar import make_guide
from generation.service import Loaded, Service

# Log-probabilities that one answer may hold, over all prompts, choices and tokens.
MOST_LOGPROBS = 1 << 20


async def post(service: Service, exchange: Exchange) -> Response:
    """Answer ``POST /api/v1/completions``."""
    body = parse_json(CompletionBody, await exchange.body(service.settings.max_body_kb * 1024)).check()
    loaded = service.loaded()
    check_model(body.model, loaded)
    if service.settings.log_prompts == "on":
        exchange.record.note_prompts(body.prompt)
    prompts = await _prompts(body, loaded)
    for prompt in prompts:
        check_context(len(prompt), body.max_tokens, loaded.config.context, "max_tokens")
    requests = await _engine_requests(body, prompts, loaded, service.settings)
    completion = CompletionResponse(body, loaded, prompts)
    stream = exchange.submit(loaded.engine, *requests)
    completion.timelines = stream.timelines
    if body.stream:
        keep_alive_s = service.settings.keep_alive_s
        return EventStream(exchange, stream, completion.event, keep_alive_s, last=completion.last_events)
    return JSONResponse(completion.whole(await exchange.collect(stream)))


async def _prompts(body: CompletionBody, loaded: Loaded) -> list[tuple[int, ...]]:
    """Return the token ids of every prompt, cut where the request asks for it."""
    last = loaded.config.vocabulary - 1
    keep = body.truncate_prompt_tokens
    if keep == -1:
        keep = max(loaded.config.context - body.max_tokens, 1)
    result = []
    for one in body.prompt:
        if isinstance(one, str):
            ids = await encode(loaded.tokenizer, one, add_special_tokens=body.add_special_tokens)
        else:
            ids = one
        for token in (min(ids), max(ids)):
            if not 0 <= token <= last:
                raise InvalidRequestError(f"prompt: {token} is not a token id from 0 to {last}", param="prompt")
        if keep is not None:
            ids = ids[-keep:] if body.truncation_side == "left" else ids[:keep]
        result.append(ids)
        await asyncio.sleep(0)  # there may be thousands: let others have their turn
    return result


async def _engine_requests(
    body: CompletionBody, prompts: list[tuple[int, ...]], loaded: Loaded, settings: Settings
) -> list[GenerationRequest]:
    if body.choices > settings.max_running:
        param = "best_of" if body.best_of else "n"
        message = f"{param}: at most {settings.max_running} choices can run at once, got {body.choices}"
        raise TooLargeError(message, param=param)
    vocabulary = loaded.config.vocabulary
    sampling = await sampling_params(body, loaded.tokenizer, vocabulary)
    ranked = body.choices > body.n
    reported = _alternatives(body.reported, vocabulary)
    of_prompt = [body.prompt_logprobs] + ([body.reported] if body.echo else [])
    scored = [_alternatives(one, vocabulary) or 0 for one in of_prompt if one is not None]
    _check_report(body, prompts, reported, max(scored, default=None))
    guide = await make_guide(loaded.tokenizer, body.constraint())
    return [
        GenerationRequest(
            prompt=prompt,
            max_tokens=body.max_tokens,
            choices=body.choices,
            number=number,
            sampling=sampling,
            stop=body.stop,
            include_stop=body.include_stop_str_in_output,
            special_tokens=not body.skip_special_tokens,
            logprobs=0 if ranked and reported is None else reported,
            logprob_ids=tuple(dict.fromkeys(body.logprob_token_ids or ())),
            score_prompt=bool(scored),
            prompt_logprobs=max(scored, default=0),
            length_penalty=body.length_penalty if body.use_beam_search else None,
            cache_salt=body.cache_salt,
            timeout_s=timeout(body.timeout_s, settings),
            guide=guide,
        )
        for number, prompt in enumerate(prompts)
    ]


def _alternatives(asked: int | None, vocabulary: int) -> int | None:
    return vocabulary if asked is not None and asked < 0 else asked


def _check_report(
    body: CompletionBody, prompts: list[tuple[int, ...]], reported: int | None, scored: int | None
) -> None:
    """Refuse an answer with more log-probabilities than an answer may hold.

    Raises:
        TooLargeError: with the numbers.
    """
    each = 0 if reported is None else reported + 1 + len(body.logprob_token_ids or ())
    generated = body.max_tokens * body.choices * len(prompts) * each
    of_prompts = 0 if scored is None else sum(map(len, prompts)) * (scored + 1)
    if generated + of_prompts > MOST_LOGPROBS:
        param = "logprobs" if generated > of_prompts or body.prompt_logprobs is None else "prompt_logprobs"
        raise TooLargeError(
            f"{param}: this asks for up to {generated + of_prompts} log-probabilities, and an answer may hold "
            f"{MOST_LOGPROBS}: ask for fewer alternatives, tokens, choices or prompts",
            param=param,
        )
