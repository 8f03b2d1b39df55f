"""The state of one sequence: chooses its tokens, turns them into text, finds stop strings, and records its end.

Keys and values of the tokens are in the KV cache, not here.
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
    """The part of a tokenizer that a sequence uses.

    Attributes:
        vocabulary: number of token ids; logits may have more entries, which are padding.
        holes: ids below `vocabulary` that are not tokens.
        ends_of_text: tokens that end a text.
    """

    vocabulary: int
    holes: frozenset[int]
    ends_of_text: tuple[int, ...]

    def detokenizer(self, prompt: SequenceOf[int], *, echoed: bool, special: bool) -> Detokenizer:
        """Return a detokenizer for the tokens that follow `prompt`.

        Args:
            prompt: token ids of the prompt.
            echoed: whether the response puts the prompt before the text.
            special: whether the text includes the names of special tokens.
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
    """Compute the log-probability and rank of a token, and log-probabilities of alternatives.

    All are computed before any sampling rule and come from one array, because evaluation harnesses compare them for
    exact equality. As in `transformers`, the softmax includes the entries that are not tokens.

    Args:
        logits: shape [V], with V at least `vocabulary`.
        token: the token to score.
        alternatives: number of likeliest tokens to report.
        others: further tokens to report.
        vocabulary: number of token ids; entries from this one on are padding and never reported.
        holes: ids below `vocabulary` that are not tokens and never reported.

    Returns:
        The log-probability of `token`; log-probabilities by id, the likeliest tokens first, then `others`; and the
        number of tokens at least as likely as `token`, itself included.
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
        self._counted, self._counted_at = 0, 0.0  # tokens that `count` has returned, and the time of the last
        self.drafter: Drafter | None = None
        self.guide = request.guide() if request.guide else None
        self._codec = codec
        own = () if request.sampling.ignore_eos else codec.ends_of_text
        self.ends = frozenset((*own, *request.sampling.stop_token_ids))
        self._sampler = Sampler(request.sampling, choice, request.prompt, codec.ends_of_text, codec.holes)
        self._detokenizer = codec.detokenizer(request.prompt, echoed=request.echo, special=request.special_tokens)
        self._matcher = StopMatcher(request.stop, include=request.include_stop)
        self._decoded = 0  # characters that the detokenizer has returned
        self._released = 0  # characters that have been reported
        self._held: list[Token] = []

    @property
    def vocabulary(self) -> int:
        """Token ids are below this number. Some models pad their vocabularies, so there may be more logits."""
        return self._codec.vocabulary

    @property
    def free_sampler(self) -> Sampler | None:
        """The sampler that alone chooses the next token; None if a grammar restricts the choice."""
        return self._sampler if self.guide is None else None

    def take(self, logits: NDArray[np.float32], token: int | None = None) -> Update | None:
        """Choose the next token; return the update to report, or None while its text is held back.

        Args:
            logits: shape [V]. Some models pad their vocabularies, so V may exceed the number of tokens.
            token: the token, if `free_sampler` has chosen it from these logits.

        Raises:
            NoTokenError: a logit is NaN or infinite.
            InvalidRequestError: the request rules out every token, or its grammar has grown too large.
        """
        known = logits[: self.vocabulary]
        if token is not None:
            pass
        elif self.guide is None:
            token = self._sampler.choose(known)
        else:
            token = self._sampler.choose(known, self.guide.allowed())
            self.guide.advance(token)
        if self.request.logprobs is None:
            return self.accept(token, None, {})
        return self.accept(token, *self._score(logits, token, self.request.logprobs, self.request.logprob_ids))

    def score_prompt(self, logits: NDArray[np.float32], token: int) -> tuple[float, dict[int, float], int]:
        """Return log-probability, alternatives and rank of a prompt token; see `score`."""
        return self._score(logits, token, self.request.prompt_logprobs, ())

    def _score(
        self, logits: NDArray[np.float32], token: int, alternatives: int, others: Iterable[int]
    ) -> tuple[float, dict[int, float], int]:
        codec = self._codec
        return score(logits, token, alternatives, others, vocabulary=codec.vocabulary, holes=codec.holes)

    def accept(
        self, token: int, logprob: float | None, alternatives: Mapping[int, float], rank: int = 0
    ) -> Update | None:
        """Append a token that has been chosen; return the update to report, or None while its text is held back."""
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
        """Return the number of new tokens since the last call, and the seconds since the last call that had any.

        Args:
            now: current time of `time.monotonic`, in seconds.
        """
        new, waited = self.generated - self._counted, now - self._counted_at
        if new:
            self._counted, self._counted_at = self.generated, now
        return new, waited

    def finish(self, reason: str, text: str = "") -> Update:
        """End the sequence with `reason`; report `text`, then what was held back for a stop string or a character."""
        rest, matched = self._push(self._detokenizer.flush())
        if matched:
            return self._matched(text + rest)
        update = self._update(text + rest + self._matcher.flush(), reason)
        if self._held:  # tokens without text at the end of the sequence
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
