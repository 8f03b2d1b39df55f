"""Build text-generation-inference's responses from the engine's updates, streamed or whole."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from generation.api.events import event
from generation.api.hf_body import HfBody
from generation.api.logprobs import LOWEST, mean
from generation.api.slices import Slices
from generation.engine.request import STOP, GenerationRequest, Item, PromptScores, Token, Update
from generation.text.tokenizer import Tokenizer


@dataclass(slots=True)
class _Sequence:
    """State of one choice."""

    text: str = ""
    tokens: list[dict[str, Any]] = field(default_factory=list)
    top_tokens: list[list[dict[str, Any]]] = field(default_factory=list)
    reason: str = ""
    generated: int = 0


class HfResponse:
    """Builds the response to one request."""

    def __init__(self, body: HfBody, asked: GenerationRequest, tokenizer: Tokenizer) -> None:
        self._given = body.parameters
        self._asked = asked
        self._tokenizer = tokenizer
        self._before = body.inputs if body.parameters.return_full_text else ""
        self._sequences = [_Sequence() for _ in range(asked.choices)]
        self._prefill: list[dict[str, Any]] = []

    def event(self, item: Item) -> str:
        """Return the server-sent events of an update, one for each token."""
        if not isinstance(item, Update):
            return ""
        sequence = self._sequences[item.index]
        before = len(sequence.tokens)
        self._add(item)
        if item.finish_reason is not None and len(sequence.tokens) == before:
            # The request timed out between two tokens. An event needs a token: this one carries the text held back.
            last = {"text": item.text, "special": not item.text}
            sequence.tokens.append(self._token(self._tokenizer.begin_of_text or 0, 0.0) | last)
            sequence.top_tokens.append([])
        events = []
        for place in range(before, len(sequence.tokens)):
            top = {"top_tokens": sequence.top_tokens[place]} if self._given.top_n_tokens else {}
            events.append({"index": place + 1, "token": sequence.tokens[place], **top})
            events[-1] |= {"generated_text": None, "details": None}
        if item.finish_reason is not None:
            ended = {**self._end(sequence), "input_length": len(self._asked.prompt)}
            events[-1] |= {"generated_text": self._before + sequence.text, "details": ended}
        return "".join(map(event, events))

    async def whole(self, items: Iterable[Item]) -> dict[str, Any]:
        """Return the whole response, built in slices."""
        slices = Slices()
        for item in items:
            await slices.turn()
            if isinstance(item, PromptScores):
                self._prefill = [
                    {"id": one.id, "text": self._tokenizer.piece(one.id), "logprob": one.logprob} for one in item.tokens
                ]
            else:
                self._add(item)
        best, *others = self._sequences
        if others:
            best, *others = sorted(
                self._sequences, key=lambda one: mean([token["logprob"] for token in one.tokens]), reverse=True
            )
        answer: dict[str, Any] = {"generated_text": self._before + best.text}
        if self._given.detailed:
            answer["details"] = self._details(best)
            if others:
                answer["details"]["best_of_sequences"] = [
                    {"generated_text": self._before + one.text, **self._details(one)} for one in others
                ]
        return answer

    def _add(self, item: Update) -> None:
        sequence = self._sequences[item.index]
        if self._asked.logprobs is not None:
            for token, text in _texts(item, len(sequence.text)):
                entry = self._token(token.id, token.logprob or 0.0)
                sequence.tokens.append(entry if entry["special"] else entry | {"text": text})
                top = list(token.alternatives.items())[: self._given.top_n_tokens]
                sequence.top_tokens.append([self._token(other, logprob) for other, logprob in top])
        sequence.text += item.text
        if item.finish_reason is not None:
            at_end = bool(item.tokens) and item.tokens[-1].id in self._tokenizer.ends_of_text
            stopped = "eos_token" if at_end else "stop_sequence"
            sequence.reason = stopped if item.finish_reason == STOP else "length"
            sequence.generated = item.generated

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        return {
            "id": token,
            "text": self._tokenizer.piece(token),
            "logprob": max(logprob, LOWEST),
            "special": self._tokenizer.special(token),
        }

    def _end(self, sequence: _Sequence) -> dict[str, Any]:
        seed = self._asked.sampling.seed
        return {"finish_reason": sequence.reason, "generated_tokens": sequence.generated, "seed": seed}

    def _details(self, sequence: _Sequence) -> dict[str, Any]:
        top = {"top_tokens": sequence.top_tokens} if self._given.top_n_tokens else {}
        return {**self._end(sequence), "prefill": self._prefill, "tokens": sequence.tokens, **top}


def _texts(item: Update, before: int) -> Iterator[tuple[Token, str]]:
    """Yield each token of an update with its part of the text; `before` characters of the sequence precede it."""
    if not item.tokens:
        return
    ends = [*(token.offset - before for token in item.tokens[1:]), len(item.text)]
    start = 0
    for token, end in zip(item.tokens, ends, strict=True):
        yield token, item.text[start:end]
        start = end
