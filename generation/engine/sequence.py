"""What is asked of the engine, and the state of each sequence that answers it.

A request asks for one or more sequences (choices) of the same prompt. A sequence turns its tokens into text, looks for
stop strings, and knows why it ended. It holds no tensors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from generation.sampling.rules import Sampler, SamplingParams, log_softmax, top_k_ids
from generation.text.stopping import StopMatcher
from generation.text.tokenizer import Detokenizer

if TYPE_CHECKING:
    from generation.engine.speculation import Drafter

STOP, LENGTH, TIMEOUT = "stop", "length", "timeout"


class Guide(Protocol):
    """Constrains one sequence: which tokens may come next."""

    def allowed(self) -> NDArray[np.bool_]:
        """Return the tokens that may come next, [vocabulary]."""

    def advance(self, token: int) -> None:
        """Take the chosen token."""


class TextCodec(Protocol):
    """What a sequence needs of a tokenizer."""

    end_of_text: int

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token stands for."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the engine.

    Attributes:
        prompt: token ids, at least one.
        max_tokens: tokens to generate for each sequence at most; 0 only scores the prompt.
        choices: sequences to generate from this prompt.
        number: place of this prompt among those submitted together; choice k reports as ``number * choices + k``.
        sampling: how to choose tokens.
        stop: strings that end a sequence; their text is left out.
        logprobs: alternatives to report with each token, besides its own log-probability; None for no report.
        score_prompt: whether to report log-probabilities of the prompt's own tokens too.
        timeout_s: seconds after which the request ends with what it has.
        guide: makes the constraint of one sequence, if there is one.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    choices: int = 1
    number: int = 0
    sampling: SamplingParams = field(default_factory=SamplingParams)
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    score_prompt: bool = False
    timeout_s: float = 200.0
    guide: Callable[[], Guide] | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is reported.

    Attributes:
        id: the token.
        offset: where its text begins in the text of the sequence, in characters.
        logprob: natural logarithm of its probability before any sampling rule; None where not asked for, and for the
            first token of a prompt, which nothing precedes.
        alternatives: the likeliest tokens at this place with their log-probabilities, likeliest first.
    """

    id: int
    offset: int
    logprob: float | None = None
    alternatives: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Update:
    """News of one sequence: text that is certain, the tokens it came from, and why it ended if it did.

    The last update of a sequence says how many tokens were `generated` in all: also those without text, and those whose
    text a stop string cut off.
    """

    index: int
    text: str
    tokens: tuple[Token, ...] = ()
    finish_reason: str | None = None
    generated: int = 0


@dataclass(frozen=True, slots=True)
class PromptScores:
    """The tokens of prompt `number` with their log-probabilities; sent once, before any `Update` of that prompt."""

    number: int
    tokens: tuple[Token, ...]


def score(logits: NDArray[np.float32], token: int, alternatives: int) -> tuple[float, dict[int, float]]:
    """Return the log-probability of `token` and of the likeliest tokens, before any sampling rule.

    Both come from one array: evaluation harnesses compare them for exact equality.
    """
    logprobs = log_softmax(logits)
    ids = top_k_ids(logprobs, alternatives)
    return float(logprobs[token]), {int(i): float(logprobs[i]) for i in ids}


class Sequence:
    """Choice `choice` of a request, from its first token to its finish reason."""

    def __init__(self, request: Request, choice: int, codec: TextCodec) -> None:
        self.request = request
        self.index = request.number * request.choices + choice
        self.length = len(request.prompt)  # tokens in the cache
        self.generated = 0
        self.last_token = request.prompt[-1]
        self.finish_reason: str | None = None
        self.retired = False
        self.counted, self.token_at = 0, 0.0  # tokens that telemetry has counted, and when it did
        self.drafter: Drafter | None = None
        self.guide = request.guide() if request.guide else None
        self._end_of_text = codec.end_of_text
        self._sampler = Sampler(request.sampling, choice, request.prompt, codec.end_of_text)
        self._detokenizer = Detokenizer(codec)
        self._matcher = StopMatcher(request.stop)
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
        return self.accept(token, *score(logits, token, self.request.logprobs))

    def accept(self, token: int, logprob: float | None, alternatives: Mapping[int, float]) -> Update | None:
        """Take the next token; return what can be reported now, if anything."""
        self.generated += 1
        self.last_token = token
        self._held.append(Token(token, self._decoded, logprob, alternatives))
        if token == self._end_of_text and not self.request.sampling.ignore_eos:
            return self.finish(STOP)
        text, matched = self._push(self._detokenizer.push(token))
        if matched:
            return self._update(text, STOP)
        if self.generated >= self.request.max_tokens:
            return self.finish(LENGTH, text)
        return self._update(text, None) if text else None

    def finish(self, reason: str, text: str = "") -> Update:
        """End the sequence; what was held back for a stop string or for half a character is let go after `text`."""
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
        return self._matcher.push(text)

    def _update(self, text: str, reason: str | None) -> Update:
        self._released += len(text)
        self.finish_reason = reason
        ready = [token for token in self._held if token.offset < self._released]
        self._held = self._held[len(ready) :]
        return Update(self.index, text, tuple(ready), reason, self.generated if reason else 0)
