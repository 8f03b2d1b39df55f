"""Builds OpenAI's response objects from the engine's updates, as events or whole; the whole sums up the events."""

import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from generation.api.completions_body import CompletionBody
from generation.api.events import event
from generation.api.logprobs import Report, mean, prompt_report
from generation.api.slices import Slices
from generation.engine.request import LENGTH, TIMEOUT, Item, PromptScores, Update
from generation.observe.timeline import Timeline  # noqa: TC001 - ruff overlooks its use
from generation.service import Loaded


class CompletionResponse:
    """Builds the response to one request.

    Attributes:
        timelines: of the request's prompts, once they are submitted; they count the tokens from the prefix cache.
    """

    def __init__(self, body: CompletionBody, loaded: Loaded, prompts: list[tuple[int, ...]]) -> None:
        self.timelines: Sequence[Timeline] = []
        self._body = body
        self._tokenizer = loaded.tokenizer
        self._prompts = prompts
        # If a prompt ends within a character, the character belongs to the generated text.
        special = not body.skip_special_tokens
        self._echoed = [loaded.tokenizer.echo(ids, special=special) if body.echo else "" for ids in prompts]
        self._reports: dict[int, Report] = {}
        self._scores: dict[int, PromptScores] = {}
        self._reported: defaultdict[int, int] = defaultdict(int)  # tokens by choice, from its first piece on
        self._generated = 0
        self._head = {
            "id": f"cmpl-{body.request_id or uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": loaded.config.name,
            "system_fingerprint": loaded.fingerprint,
        }

    def event(self, item: Item) -> str:
        """Return the server-sent event for an item, or an empty string if it has none."""
        choice = self._choice(item)
        if choice is None or not isinstance(item, Update):
            return ""
        usage: dict[str, Any] = {"usage": None} if self._body.usage_at_end else {}
        if self._body.usage_in_events:
            prompt = len(self._prompts[item.index // self._body.choices])
            usage = {"usage": _usage(prompt, self._reported[item.index])}
        return event(self._head | {"choices": [choice]} | usage)

    def last_events(self) -> str:
        """Return the events that come after all items."""
        return event(self._head | {"choices": [], "usage": self._usage()}) if self._body.usage_at_end else ""

    async def whole(self, items: Iterable[Item]) -> dict[str, Any]:
        """Return the whole response, built in slices."""
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
        for first in range(0, len(self._prompts) * self._body.choices, self._body.choices):
            ranked = [choices[index] for index in range(first, first + self._body.choices) if index in choices]
            if self._body.choices > self._body.n:
                ranked.sort(key=lambda choice: mean(logprobs[choice["index"]]), reverse=True)
            kept += ranked[: self._body.n]
        for index, choice in enumerate(kept):
            choice["index"] = index
        return self._head | {"choices": kept, "usage": self._usage()}

    def _usage(self) -> dict[str, Any]:
        cached = sum(one.cached_tokens for one in self.timelines)
        return _usage(sum(map(len, self._prompts)), self._generated) | {
            "prompt_tokens_details": {"cached_tokens": cached}
        }

    def _choice(self, item: Item) -> dict[str, Any] | None:
        """Return a piece of a choice; the first piece includes the prompt's part."""
        if isinstance(item, PromptScores):
            self._scores[item.number] = item
            return None
        body, number = self._body, item.index // self._body.choices
        first = item.index not in self._reported
        self._generated += item.generated
        self._reported[item.index] = item.generated or self._reported[item.index] + len(item.tokens)
        reason = LENGTH if item.finish_reason == TIMEOUT else item.finish_reason
        text = self._echoed[number] + item.text if first else item.text
        piece = {"index": item.index, "text": text, "logprobs": self._logprobs(item, number, first=first)}
        piece["finish_reason"] = reason
        if body.prompt_logprobs is not None and first:
            scores = self._scores[number].tokens if number in self._scores else ()
            piece["prompt_logprobs"] = prompt_report(scores, self._tokenizer, body.prompt_logprobs)
        if body.return_token_ids:
            if first:
                piece["prompt_token_ids"] = list(self._prompts[number])
            piece["token_ids"] = [token.id for token in item.tokens] + list(item.cut)
        return piece

    def _logprobs(self, item: Update, number: int, *, first: bool) -> dict[str, list[Any]] | None:
        body = self._body
        if body.reported is None:
            return None
        report = Report(self._tokenizer, as_ids=body.return_tokens_as_token_ids)
        if first and body.echo and number in self._scores:
            report.extend(self._prompt_report(number, body.reported))
        report.add(item.tokens, shift=len(self._echoed[number]))
        return report.lists()

    def _prompt_report(self, number: int, alternatives: int) -> Report:
        """Return the report on a prompt; it is made once for all choices."""
        if number not in self._reports:
            self._reports[number] = Report(self._tokenizer, as_ids=self._body.return_tokens_as_token_ids)
            self._reports[number].add_prompt(self._scores[number].tokens, alternatives)
        return self._reports[number]


def _usage(prompt: int, generated: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}


def _extend(choice: dict[str, Any], piece: dict[str, Any]) -> None:
    """Append the next piece of a choice."""
    choice["text"] += piece["text"]
    choice["finish_reason"] = piece["finish_reason"]
    if choice["logprobs"] is not None:
        for name, values in piece["logprobs"].items():
            choice["logprobs"][name] += values
    if "token_ids" in choice:
        choice["token_ids"] += piece["token_ids"]
