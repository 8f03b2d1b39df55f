"""Build what completions and chat completions share: events and whole responses from the engine's updates."""

import time
import uuid
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from generation.api.events import event
from generation.api.logprobs import mean
from generation.api.openai_body import OpenAIBody
from generation.api.slices import Slices
from generation.engine.request import LENGTH, TIMEOUT, Item, PromptScores, Update
from generation.observe.timeline import Timeline  # noqa: TC001 - ruff overlooks its use
from generation.service import Loaded


class OpenAIResponse(ABC):
    """Builds the response to one request. A whole response concatenates the pieces that a stream sends.

    Attributes:
        timelines: timelines of the request's prompts, set after submission; they count tokens from the prefix cache.
    """

    def __init__(self, body: OpenAIBody, loaded: Loaded, lengths: Sequence[int], prefix: str, fingerprint: str) -> None:
        self.timelines: Sequence[Timeline] = []
        self._choices = body.choices
        self._kept = body.n
        self._usage_at_end, self._usage_in_events = body.usage_at_end, body.usage_in_events
        self._lengths = lengths  # number of tokens of each prompt
        self._reported: defaultdict[int, int] = defaultdict(int)  # tokens by choice, from its first piece on
        self._generated = 0
        self._id = f"{prefix}-{body.request_id or uuid.uuid4().hex}"
        self._rest = {"created": int(time.time()), "model": loaded.config.name, "system_fingerprint": fingerprint}

    @abstractmethod
    def _object(self, *, streamed: bool) -> str:
        """Return the value of the field `object`."""

    @abstractmethod
    def _piece(self, item: Update, number: int, *, first: bool) -> dict[str, Any]:
        """Return a piece of a choice of prompt `number`, without index and finish reason; `first` marks its first."""

    @abstractmethod
    def _extend(self, choice: dict[str, Any], piece: dict[str, Any]) -> None:
        """Append `piece` to `choice`."""

    def _note(self, scores: PromptScores) -> None:  # noqa: B027 - chat completions do not report them
        """Record the log-probabilities of a prompt."""

    def _finish(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Return a choice in the form of a whole response."""
        return choice

    def event(self, item: Item) -> str:
        """Return the server-sent event for an item, or an empty string if it has none."""
        choice = self._choice(item)
        if choice is None or not isinstance(item, Update):
            return ""
        usage: dict[str, Any] = {"usage": None} if self._usage_at_end else {}
        if self._usage_in_events:
            prompt = self._lengths[item.index // self._choices]
            usage = {"usage": _usage(prompt, self._reported[item.index])}
        return event(self._head(streamed=True) | {"choices": [choice]} | usage)

    def last_events(self) -> str:
        """Return the event after all items, or an empty string if there is none."""
        if not self._usage_at_end:
            return ""
        return event(self._head(streamed=True) | {"choices": [], "usage": self._usage()})

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
                choices[item.index]["finish_reason"] = piece["finish_reason"]
                self._extend(choices[item.index], piece)
            else:
                choices[item.index] = piece
        kept = []
        for first in range(0, len(self._lengths) * self._choices, self._choices):
            ranked = [choices[index] for index in range(first, first + self._choices) if index in choices]
            if self._choices > self._kept:
                ranked.sort(key=lambda choice: mean(logprobs[choice["index"]]), reverse=True)
            kept += ranked[: self._kept]
        for index, choice in enumerate(kept):
            choice["index"] = index
        return self._head(streamed=False) | {"choices": list(map(self._finish, kept)), "usage": self._usage()}

    def _head(self, *, streamed: bool) -> dict[str, Any]:
        return {"id": self._id, "object": self._object(streamed=streamed), **self._rest}

    def _usage(self) -> dict[str, Any]:
        cached = sum(one.cached_tokens for one in self.timelines)
        return _usage(sum(self._lengths), self._generated) | {"prompt_tokens_details": {"cached_tokens": cached}}

    def _choice(self, item: Item) -> dict[str, Any] | None:
        """Return the piece of a choice for an update; None for the scores of a prompt."""
        if isinstance(item, PromptScores):
            self._note(item)
            return None
        first = item.index not in self._reported
        self._generated += item.generated
        self._reported[item.index] = item.generated or self._reported[item.index] + len(item.tokens)
        reason = LENGTH if item.finish_reason == TIMEOUT else item.finish_reason
        piece = self._piece(item, item.index // self._choices, first=first)
        return {"index": item.index, **piece, "finish_reason": reason}


def _usage(prompt: int, generated: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}
