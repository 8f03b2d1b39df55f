"""The vocabulary that every room shares: what is asked of the engine, and what it reports."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from generation.sampling.params import SamplingParams

STOP, LENGTH, TIMEOUT, ERROR = "stop", "length", "timeout", "error"


class Guide(Protocol):
    """Constrains one sequence: which tokens may come next."""

    def allowed(self) -> NDArray[np.bool_]:
        """Return the tokens that may come next, [vocabulary]."""

    def advance(self, token: int) -> None:
        """Take the chosen token."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt, and what to generate from it.

    Attributes:
        prompt: token ids, at least one.
        max_tokens: tokens to generate for each sequence at most; 0 only scores the prompt.
        choices: sequences to generate from this prompt.
        number: place of this prompt among those submitted together; choice k reports as ``number * choices + k``.
        sampling: how to choose tokens.
        stop: strings that end a sequence.
        include_stop: whether the text of what ended a sequence, a string or a token, is part of its text.
        special_tokens: whether special tokens are part of the text, by their names.
        logprobs: alternatives to report with each token, besides its own log-probability; None for no report.
        logprob_ids: tokens to report at each place besides.
        score_prompt: whether to report log-probabilities of the prompt's own tokens too.
        prompt_logprobs: alternatives to report with each of those.
        length_penalty: makes this a beam search with as many beams as `choices`; above 0 favours long sequences. The
            sampling parameters then say no more than what ends a sequence.
        cache_salt: prompts share what the prefix cache keeps only with those of the same salt.
        timeout_s: seconds after which the request ends with what it has.
        guide: makes the constraint of one sequence, if there is one.
        echo: whether the reader puts the prompt before the text. A character of which the prompt has only the first
            bytes is then part of the text.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    choices: int = 1
    number: int = 0
    sampling: SamplingParams = field(default_factory=SamplingParams)
    stop: tuple[str, ...] = ()
    include_stop: bool = False
    special_tokens: bool = False
    logprobs: int | None = None
    logprob_ids: tuple[int, ...] = ()
    score_prompt: bool = False
    prompt_logprobs: int = 0
    length_penalty: float | None = None
    cache_salt: str = ""
    timeout_s: float = 200.0
    guide: Callable[[], Guide] | None = None
    echo: bool = False


# A step makes a `Token` and an `Update` for each sequence. They are not frozen: that takes four times as long.
@dataclass(slots=True)
class Token:
    """A token as it is reported.

    Attributes:
        id: the token.
        offset: where its text begins in the text of the sequence, in characters.
        logprob: natural logarithm of its probability before any sampling rule; None where not asked for, and for the
            first token of a prompt, which nothing precedes.
        alternatives: the likeliest tokens at this place with their log-probabilities, likeliest first; then those
            that were asked for by id.
        rank: how many tokens are at least as likely as this one, itself included.
    """

    id: int
    offset: int
    logprob: float | None = None
    alternatives: Mapping[int, float] = field(default_factory=dict)
    rank: int = 0


@dataclass(slots=True)
class Update:
    """News of one sequence: text that is certain, the tokens it came from, and why it ended if it did.

    The last update of a sequence says how many tokens were `generated` in all: also those without text, and those whose
    text a stop string cut off, which are `cut`.
    """

    index: int
    text: str
    tokens: tuple[Token, ...] = ()
    finish_reason: str | None = None
    generated: int = 0
    cut: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptScores:
    """The tokens of prompt `number` with their log-probabilities; sent once, before any `Update` of that prompt."""

    number: int
    tokens: tuple[Token, ...]


Item = Update | PromptScores
