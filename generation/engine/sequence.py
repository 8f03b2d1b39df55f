"""The state of one sequence: it turns its tokens into text, looks for stop strings, and knows why it ended.

It holds no tensors.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from generation.engine.request import LENGTH, STOP, GenerationRequest, Token, Update
from generation.sampling.rules import log_softmax, top_k_ids
from generation.sampling.sampler import Sampler
from generation.text.detokenizer import Detokenizer
from generation.text.stopping import StopMatcher

if TYPE_CHECKING:
    from generation.engine.speculation import Drafter


class TextCodec(Protocol):
    """What a sequence needs of a tokenizer."""

    end_of_text: int

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for a special token."""

    def piece(self, token: int) -> str:
        """Return a token as text to show; a special token by its name."""


class _Named:
    """Gives special tokens the text of their names."""

    def __init__(self, codec: TextCodec) -> None:
        self._codec = codec

    def token_bytes(self, token: int) -> bytes:
        return self._codec.token_bytes(token) or self._codec.piece(token).encode()


def score(
    logits: NDArray[np.float32], token: int, alternatives: int, others: Iterable[int] = ()
) -> tuple[float, dict[int, float], int]:
    """Return the log-probability of `token`, those of the likeliest tokens and of `others`, and the rank of `token`.

    All are the model's own, before any sampling rule, and come from one array: evaluation harnesses compare them for
    exact equality.
    """
    logprobs = log_softmax(logits)
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
        own = () if request.sampling.ignore_eos else (codec.end_of_text,)
        self.ends = frozenset((*own, *request.sampling.stop_token_ids))
        self._sampler = Sampler(request.sampling, choice, request.prompt, codec.end_of_text)
        self._detokenizer = Detokenizer(_Named(codec) if request.special_tokens else codec)
        self._matcher = StopMatcher(request.stop, include=request.include_stop)
        self._decoded = 0  # characters that left the detokenizer
        self._released = 0  # characters that were reported
        self._held: list[Token] = []

    def take(self, logits: NDArray[np.float32]) -> Update | None:
        """Choose the next token from its logits, [vocabulary]; return what can be reported now, if anything."""
        if self.guide is None:
            token = self._sampler.choose(logits)
        else:
            token = self._sampler.choose(logits, self.guide.allowed())
            self.guide.advance(token)
        if self.request.logprobs is None:
            return self.accept(token, None, {})
        return self.accept(token, *score(logits, token, self.request.logprobs, self.request.logprob_ids))

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
        """End the sequence; what was held back for a stop string or for half a character is let go after `text`."""
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
