"""OpenAI's ``/v1/completions`` on our engine. The reference is OpenAI's description, then vLLM's server."""

import asyncio
import math
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean
from typing import Any

from starlette.responses import JSONResponse, Response

from generation.api.bodies import parse_json
from generation.api.completions_body import CompletionBody
from generation.api.events import EventStream, event
from generation.api.exchange import Exchange
from generation.api.logprobs import Report
from generation.api.prompts import check_context, encode, timeout
from generation.config import Settings
from generation.engine.request import LENGTH, TIMEOUT, GenerationRequest, Item, PromptScores, Update
from generation.errors import InvalidRequestError, ModelNotFoundError, TooLargeError
from generation.sampling.grammar import make_guide
from generation.sampling.params import SamplingParams
from generation.service import Loaded, Service


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
    if body.stream:
        keep_alive_s = service.settings.keep_alive_s
        return EventStream(exchange, stream, completion.event, keep_alive_s, last=completion.last_events)
    return JSONResponse(completion.whole(await exchange.collect(stream)))


def check_model(name: str | None, loaded: Loaded) -> None:
    """Refuse a model that is not served.

    Raises:
        ModelNotFoundError: with the name of the one that is.
    """
    if name is not None and name != loaded.config.name:
        raise ModelNotFoundError(
            f"the model {name[:64]!r} is not served here; {loaded.config.name!r} is", param="model"
        )


async def _prompts(body: CompletionBody, loaded: Loaded) -> list[tuple[int, ...]]:
    """Return the token ids of every prompt."""
    last = loaded.config.vocabulary - 1
    result = []
    for one in body.prompt:
        ids = await encode(loaded.tokenizer, one) if isinstance(one, str) else one
        for token in (min(ids), max(ids)):
            if not 0 <= token <= last:
                raise InvalidRequestError(f"prompt: {token} is not a token id from 0 to {last}", param="prompt")
        result.append(ids if body.truncate_prompt_tokens is None else ids[-body.truncate_prompt_tokens :])
        await asyncio.sleep(0)  # there may be thousands: let others have their turn
    return result


async def _engine_requests(
    body: CompletionBody, prompts: list[tuple[int, ...]], loaded: Loaded, settings: Settings
) -> list[GenerationRequest]:
    if body.choices > settings.max_running:
        param = "best_of" if body.best_of else "n"
        message = f"{param}: at most {settings.max_running} choices can run at once, got {body.choices}"
        raise TooLargeError(message, param=param)
    sampling = SamplingParams(
        temperature=body.temperature,
        top_k=max(body.top_k, 0),
        frequency_penalty=body.frequency_penalty,
        presence_penalty=body.presence_penalty,
        logit_bias=body.bias(loaded.config.vocabulary),
        min_tokens=body.min_tokens,
        **body.sampling(),
    )
    ranked = body.choices > body.n
    guide = await make_guide(loaded.tokenizer, body.constraint())
    return [
        GenerationRequest(
            prompt=prompt,
            max_tokens=body.max_tokens,
            choices=body.choices,
            number=number,
            sampling=sampling,
            stop=body.stop,
            logprobs=0 if ranked and body.logprobs is None else body.logprobs,
            score_prompt=body.echo and body.logprobs is not None,
            timeout_s=timeout(body.timeout_s, settings),
            guide=guide,
        )
        for number, prompt in enumerate(prompts)
    ]


class CompletionResponse:
    """Turns what the engine reports into OpenAI's objects, as events or whole; the whole is the sum of the events."""

    def __init__(self, body: CompletionBody, loaded: Loaded, prompts: list[tuple[int, ...]]) -> None:
        self._body = body
        self._tokenizer = loaded.tokenizer
        self._echoed = [loaded.tokenizer.decode(prompt) for prompt in prompts] if body.echo else [""] * len(prompts)
        self._scores: dict[int, PromptScores] = {}
        self._begun: set[int] = set()
        self._prompt_tokens = sum(len(prompt) for prompt in prompts)
        self._generated = 0
        self._head = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": loaded.config.name,
            "system_fingerprint": loaded.fingerprint,
        }

    def event(self, item: Item) -> str:
        """Return the server-sent event for an item, or nothing if it has none of its own."""
        choice = self._choice(item)
        if choice is None:
            return ""
        return event(self._head | {"choices": [choice]} | ({"usage": None} if self._wants_usage else {}))

    def last_events(self) -> str:
        """Return the events that come after all items."""
        return event(self._head | {"choices": [], "usage": self._usage()}) if self._wants_usage else ""

    def whole(self, items: Iterable[Item]) -> dict[str, Any]:
        """Return the whole response."""
        choices: dict[int, dict[str, Any]] = {}
        logprobs: dict[int, list[float]] = defaultdict(list)
        for item in items:
            piece = self._choice(item)
            if piece is None or not isinstance(item, Update):
                continue
            logprobs[item.index] += [token.logprob for token in item.tokens if token.logprob is not None]
            if item.index in choices:
                _extend(choices[item.index], piece)
            else:
                choices[item.index] = piece
        kept = []
        for first in range(0, len(self._echoed) * self._body.choices, self._body.choices):
            ranked = [choices[index] for index in range(first, first + self._body.choices) if index in choices]
            if self._body.choices > self._body.n:
                ranked.sort(key=lambda choice: _mean(logprobs[choice["index"]]), reverse=True)
            kept += ranked[: self._body.n]
        for index, choice in enumerate(kept):
            choice["index"] = index
        return self._head | {"choices": kept, "usage": self._usage()}

    @property
    def _wants_usage(self) -> bool:
        return self._body.stream_options is not None and self._body.stream_options.include_usage

    def _usage(self) -> dict[str, int]:
        total = self._prompt_tokens + self._generated
        return {"prompt_tokens": self._prompt_tokens, "completion_tokens": self._generated, "total_tokens": total}

    def _choice(self, item: Item) -> dict[str, Any] | None:
        if isinstance(item, PromptScores):
            self._scores[item.number] = item
            return None
        self._generated += item.generated
        number = item.index // self._body.choices
        echoed = self._echoed[number]
        report = None
        if self._body.logprobs is not None:
            report = Report(self._tokenizer, as_ids=self._body.return_tokens_as_token_ids)
        text = item.text
        if item.index not in self._begun:
            self._begun.add(item.index)
            text = echoed + text
            if report is not None and number in self._scores:
                report.add_prompt(self._scores[number].tokens)
        if report is not None:
            report.add(item.tokens, shift=len(echoed))
        reason = LENGTH if item.finish_reason == TIMEOUT else item.finish_reason
        return {
            "index": item.index,
            "text": text,
            "logprobs": None if report is None else report.legacy(),
            "finish_reason": reason,
        }


def _mean(logprobs: list[float]) -> float:
    """Return the mean log-probability of a choice; one of which nothing is left ranks last."""
    return fmean(logprobs) if logprobs else -math.inf


def _extend(choice: dict[str, Any], piece: dict[str, Any]) -> None:
    """Add the next piece of a choice to what there is."""
    choice["text"] += piece["text"]
    choice["finish_reason"] = piece["finish_reason"]
    if choice["logprobs"] is not None:
        for name, values in piece["logprobs"].items():
            choice["logprobs"][name] += values
