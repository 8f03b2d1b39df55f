"""The state of one sequence: it turns its tokens into text, looks for stop strings, and knows why it ended.

It holds no tensors.
"""

from collections.abc import Collection, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from generation.engine.request import LENGTH, STOP, GenerationRequest, Token, Update
from generation.sampling.rules import MINUS_INFINITY, log_softmax, top_k_ids
from generation.sampling.sampler import Sampler
from generation.text.detokenizer import Detokenizer
from generation.text.stopping import StopMatcher

if TYPE_CHECKING:
    from generation.engine.speculation import Drafter


class TextCodec(Protocol):
    """What a sequence needs of a tokenizer."""

    vocabulary: int
    holes: frozenset[int]
    ends_of_text: tuple[int, ...]

    def detokenizer(self, prompt: SequenceOf[int], *, echoed: bool) -> Detokenizer:
        """Return what turns the tokens that follow `prompt`, whose text is `echoed` or not, into text."""


def score(
    logits: NDArray[np.float32],
    token: int,
    alternatives: int,
    vocabulary: int | None = None,
    holes: Collection[int] = (),
) -> tuple[float, dict[int, float]]:
    """Return the log-probability of `token` and of the likeliest tokens, before any sampling rule.

    Both come from one array: evaluation harnesses compare them for exact equality. All logits share the probability, as
    in `transformers`, also those from `vocabulary` on and of `holes`, which are no tokens and never reported.
    """
    logprobs = log_softmax(logits)[:vocabulary]
    if holes:
        logprobs[list(holes)] = MINUS_INFINITY
    ids = top_k_ids(logprobs, alternatives)
    return float(logprobs[token]), {int(i): float(logprobs[i]) for i in ids}


class Sequence:
    """Choice `choice` of a request, from its first token to its finish reason."""

    def __init__(self, request: GenerationRequest, choice: int, codec: TextCodec) -> None:
        self.request = request
        self.index = request.number * request.choices + choice
        self.length = len(request.prompt)  # tokens in the cache
        self.generated = 0
        self.last_token = request.prompt[-1]
        self.finish_reason: str | None = None
        self.retired = False
        self._counted, self._counted_at = 0, 0.0  # tokens, and when
        self.drafter: Drafter | None = None
        self.guide = request.guide() if request.guide else None
        self._codec = codec
        self._sampler = Sampler(request.sampling, choice, request.prompt, codec.ends_of_text, codec.holes)
        self._detokenizer = codec.detokenizer(request.prompt, echoed=request.echo)
        self._matcher = StopMatcher(request.stop)
        self._decoded = 0  # characters that left the detokenizer
        self._released = 0  # characters that were reported
        self._held: list[Token] = []

    def take(self, logits: NDArray[np.float32]) -> Update | None:
        """Choose the next token from its logits; return what can be reported now, if anything.

        There may be more logits than tokens: the vocabularies of some models are padded.
        """
        known = logits[: self._codec.vocabulary]
        if self.guide is None:
            token = self._sampler.choose(known)
        else:
            token = self._sampler.choose(known, self.guide.allowed())
            self.guide.advance(token)
        if self.request.logprobs is None:
            return self.accept(token, None, {})
        return self.accept(token, *self.score(logits, token))

    def score(self, logits: NDArray[np.float32], token: int) -> tuple[float, dict[int, float]]:
        """Return the log-probability of `token` and of the likeliest tokens, as many as the request asks for."""
        return score(logits, token, self.request.logprobs or 0, self._codec.vocabulary, self._codec.holes)

    def accept(self, token: int, logprob: float | None, alternatives: Mapping[int, float]) -> Update | None:
        """Take the next token; return what can be reported now, if anything."""
        self.generated += 1
        self.last_token = token
        self._held.append(Token(token, self._decoded, logprob, alternatives))
        if token in self._codec.ends_of_text and not self.request.sampling.ignore_eos:
            return self.finish(STOP)
        text, matched = self._push(self._detokenizer.push(token))
        if matched:
            return self._update(text, STOP)
        if self.generated >= self.request.max_tokens:
            return self.finish(LENGTH, text)
        return self._update(text, None) if text else None

    def count(self, now: float) -> tuple[int, float]:
        """Return the tokens that are new since the previous call, and the seconds since its own new tokens."""
        new, waited = self.generated - self._counted, now - self._counted_at
        if new:
            self._counted, self._counted_at = self.generated, now
        return new, waited

    def finish(self, reason: str, text: str = "") -> Update:
        """End the sequence; release what was held back for a stop string or an incomplete character after `text`."""
        rest, matched = self._push(self._detokenizer.flush())
        if matched:
            return self._update(text + rest, STOP)
        update = self._update(text + rest + self._matcher.flush(), reason)
        if self._held:  # tokens without text of their own, at the very end
            update = replace(update, tokens=update.tokens + tuple(self._held))
            self._held.clear()
        return update

    def _push(self, text: str) -> tuple[str, bool]:
        self._decoded += len(text)
        if self.generated <= self.request.sampling.min_tokens:
            return text, False  # a stop string counts only in what comes after them
        return self._matcher.push(text)

    def _update(self, text: str, reason: str | None) -> Update:
        self._released += len(text)
        self.finish_reason = reason
        ready = [token for token in self._held if token.offset < self._released]
        self._held = self._held[len(ready) :]
        return Update(self.index, text, tuple(ready), reason, self.generated if reason else 0)
