"""OpenAI's ``/v1/completions`` on our engine. The reference is OpenAI's description, then vLLM's server."""

import asyncio
import math
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean
from typing import Any

from starlette.responses import Response

from generation.api.bodies import parse_json
from generation.api.completions_body import CompletionBody
from generation.api.cost import Cost, least_tokens
from generation.api.events import EventStream, event
from generation.api.exchange import Exchange
from generation.api.logprobs import Report
from generation.api.prompts import check_context, check_ids, check_length, encode, timeout
from generation.api.slices import Slices, json_response
from generation.config import Settings
from generation.engine.request import LENGTH, TIMEOUT, GenerationRequest, Item, PromptScores, Update
from generation.errors import ModelNotFoundError
from generation.sampling.guide import make_guide
from generation.sampling.params import SamplingParams
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
    _cost(body, least, context).check(service.settings)
    for prompt in body.prompt if whole else ():
        if isinstance(prompt, str):
            check_length(prompt, longest, context)
        else:
            check_context(len(prompt), body.max_tokens, context, "max_tokens")
    prompts = await _prompts(body, loaded)
    for ids in prompts:
        check_context(len(ids), body.max_tokens, context, "max_tokens")
    _cost(body, sum(map(len, prompts)), context).check(service.settings)
    requests = await _engine_requests(body, prompts, loaded, service.settings)
    completion = CompletionResponse(body, loaded, prompts)
    stream = exchange.submit(loaded.engine, *requests)
    if body.stream:
        keep_alive_s = service.settings.keep_alive_s
        return EventStream(exchange, stream, completion.event, keep_alive_s, last=completion.last_events)
    return await json_response(await completion.whole(await exchange.collect(stream)))


def _cost(body: CompletionBody, prompt_tokens: int, context: int) -> Cost:
    fields = ("prompt", "best_of" if body.best_of else "n", "max_tokens")
    return Cost(
        len(body.prompt), prompt_tokens, body.choices, min(body.max_tokens, context), body.echo, body.logprobs, fields
    )


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
    result = []
    for one in body.prompt:
        ids = await encode(loaded.tokenizer, one) if isinstance(one, str) else one
        check_ids(loaded.tokenizer, ids, "prompt", "prompt")
        result.append(ids if body.truncate_prompt_tokens is None else ids[-body.truncate_prompt_tokens :])
        await asyncio.sleep(0)  # there may be thousands: let others have their turn
    return result


async def _engine_requests(
    body: CompletionBody, prompts: list[tuple[int, ...]], loaded: Loaded, settings: Settings
) -> list[GenerationRequest]:
    sampling = SamplingParams(
        temperature=body.temperature,
        top_k=max(body.top_k, 0),
        frequency_penalty=body.frequency_penalty,
        presence_penalty=body.presence_penalty,
        logit_bias=body.bias(loaded.tokenizer.vocabulary),
        min_tokens=body.min_tokens,
        **body.sampling(),
    )
    ranked = body.choices > body.n
    guide = await make_guide(loaded.tokenizer, body.guided_choice, body.guided_regex)
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
            echo=body.echo,
        )
        for number, prompt in enumerate(prompts)
    ]


class CompletionResponse:
    """Turns what the engine reports into OpenAI's objects, as events or whole; the whole is the sum of the events."""

    def __init__(self, body: CompletionBody, loaded: Loaded, prompts: list[tuple[int, ...]]) -> None:
        self._body = body
        self._tokenizer = loaded.tokenizer
        # A character of which the prompt has only the first bytes comes with the text.
        self._echoed = [loaded.tokenizer.echo(ids) if body.echo else "" for ids in prompts]
        self._scores: dict[int, PromptScores] = {}
        self._reports: dict[int, Report] = {}
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

    async def whole(self, items: Iterable[Item]) -> dict[str, Any]:
        """Return the whole response; it is made in slices."""
        slices = Slices()
        choices: dict[int, dict[str, Any]] = {}
        logprobs: dict[int, list[float]] = defaultdict(list)
        for item in items:
            await slices.turn()
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
                report.extend(self._prompt_report(number))
        if report is not None:
            report.add(item.tokens, shift=len(echoed))
        reason = LENGTH if item.finish_reason == TIMEOUT else item.finish_reason
        return {
            "index": item.index,
            "text": text,
            "logprobs": None if report is None else report.legacy(),
            "finish_reason": reason,
        }

    def _prompt_report(self, number: int) -> Report:
        """Return the report on a prompt; it is made once, and each choice has its entries."""
        if number not in self._reports:
            self._reports[number] = Report(self._tokenizer, as_ids=self._body.return_tokens_as_token_ids)
            self._reports[number].add_prompt(self._scores[number].tokens)
        return self._reports[number]


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
