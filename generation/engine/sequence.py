"""The state of one sequence: it turns its tokens into text, looks for stop strings, and knows why it ended.

It holds no tensors.
"""

from collections.abc import Collection, Iterable, Mapping
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
    from generation.engine.drafter import Drafter


class TextCodec(Protocol):
    """What a sequence needs of a tokenizer."""

    vocabulary: int
    holes: frozenset[int]
    ends_of_text: tuple[int, ...]

    def detokenizer(self, prompt: SequenceOf[int], *, echoed: bool, special: bool) -> Detokenizer:
        """Return what turns the tokens that follow `prompt`, whose text is `echoed` or not, into text.

        With `special`, the names of special tokens are text, too.
        """


def score(
    logits: NDArray[np.float32],
    token: int,
    alternatives: int,
    others: Iterable[int] = (),
    *,
    vocabulary: int | None = None,
    holes: Collection[int] = (),
) -> tuple[float, dict[int, float], int]:
    """Return the log-probability of `token`, those of the likeliest tokens and of `others`, and the rank of `token`.

    All are the model's own, before any sampling rule, and come from one array: evaluation harnesses compare them for
    exact equality. All logits share the probability, as in `transformers`, also those from `vocabulary` on and of
    `holes`, which are no tokens and never reported.
    """
    logprobs = log_softmax(logits)[:vocabulary]
    if holes:
        logprobs[list(holes)] = MINUS_INFINITY
    ids = [*top_k_ids(logprobs, alternatives).tolist(), *others]
    rank = int(np.count_nonzero(logprobs >= logprobs[token]))
    return float(logprobs[token]), dict(zip(ids, logprobs[ids].tolist(), strict=True)), rank


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
        own = () if request.sampling.ignore_eos else codec.ends_of_text
        self.ends = frozenset((*own, *request.sampling.stop_token_ids))
        self._sampler = Sampler(request.sampling, choice, request.prompt, codec.ends_of_text, codec.holes)
        self._detokenizer = codec.detokenizer(request.prompt, echoed=request.echo, special=request.special_tokens)
        self._matcher = StopMatcher(request.stop, include=request.include_stop)
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
        return self.accept(token, *self._score(logits, token, self.request.logprobs, self.request.logprob_ids))

    def score_prompt(self, logits: NDArray[np.float32], token: int) -> tuple[float, dict[int, float], int]:
        """Return what is reported of a token of the prompt; see `score`."""
        return self._score(logits, token, self.request.prompt_logprobs, ())

    def _score(
        self, logits: NDArray[np.float32], token: int, alternatives: int, others: Iterable[int]
    ) -> tuple[float, dict[int, float], int]:
        codec = self._codec
        return score(logits, token, alternatives, others, vocabulary=codec.vocabulary, holes=codec.holes)

    def accept(
        self, token: int, logprob: float | None, alternatives: Mapping[int, float], rank: int = 0
    ) -> Update | None:
        """Take the next token; return what can be reported now, if anything."""
        self.generated += 1
        self.last_token = token
        self._held.append(Token(token, self._decoded, logprob, alternatives, rank))
        ends = token in self.ends
        if ends and not self.request.include_stop:
            return self.finish(STOP)
        text, matched = self._push(self._detokenizer.push(token))
        if matched:
            return self._matched(text)
        if ends:
            return self.finish(STOP, text)
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
            return self._matched(text + rest)
        update = self._update(text + rest + self._matcher.flush(), reason)
        if self._held:  # tokens without text of their own, at the very end
            update = replace(update, tokens=update.tokens + tuple(self._held))
            self._held.clear()
        return update

    def _push(self, text: str) -> tuple[str, bool]:
        self._decoded += len(text)
        return self._matcher.push(text, match=self.generated > self.request.sampling.min_tokens)

    def _matched(self, text: str) -> Update:
        """End the sequence at a stop string."""
        update = self._update(text, STOP)
        return replace(update, cut=tuple(token.id for token in self._held))

    def _update(self, text: str, reason: str | None) -> Update:
        self._released += len(text)
        self.finish_reason = reason
        ready = [token for token in self._held if token.offset < self._released]
        self._held = self._held[len(ready) :]
        return Update(self.index, text, tuple(ready), reason, self.generated if reason else 0)
