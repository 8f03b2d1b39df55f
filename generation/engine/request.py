"""Data types for what goes into the engine (`GenerationRequest`) and what comes out (`Update`, `PromptScores`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from generation.sampling.params import SamplingParams

STOP, LENGTH, TIMEOUT, ERROR = "stop", "length", "timeout", "error"


class Guide(Protocol):
    """A constraint on one sequence, such as a grammar."""

    def allowed(self) -> NDArray[np.bool_]:
        """Return which tokens may come next, [vocabulary]."""

    def advance(self, token: int) -> None:
        """Advance past the chosen token."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt, and what to generate from it.

    Attributes:
        prompt: token ids, at least one.
        max_tokens: maximum number of tokens to generate for each sequence; 0 only scores the prompt.
        choices: number of sequences to generate from this prompt.
        number: index of this prompt among those submitted together; choice k reports as ``number * choices + k``.
        sampling: how to choose tokens.
        stop: strings that end a sequence.
        include_stop: whether the text includes the stop string or stop token that ended it.
        special_tokens: whether the text includes the names of special tokens.
        logprobs: number of alternatives to report with the log-probability of each token; None for no report.
        logprob_ids: further tokens whose log-probabilities are reported at each position.
        score_prompt: whether to report the log-probabilities of the prompt's tokens, too.
        prompt_logprobs: number of alternatives to report with each of those.
        length_penalty: if not None, use beam search with `choices` beams; above 0 favours long sequences. Of the
            sampling parameters, only those that end a sequence then apply.
        cache_salt: the prefix cache is shared only among prompts with the same salt.
        timeout_s: maximum time of the request in seconds; it then ends with the tokens generated so far.
        guide: creates the constraint of one sequence, if there is one.
        echo: whether the response puts the prompt before the generated text. If the prompt ends inside a multi-byte
            character, the text then includes that character.
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


# A step creates a `Token` and an `Update` for each sequence. Creating frozen instances takes four times as long.
@dataclass(slots=True)
class Token:
    """One generated or prompt token in a report.

    Attributes:
        id: token id.
        offset: start of its text within the text of the sequence, in characters.
        logprob: natural logarithm of its probability before any sampling rule; None if not requested, and for the
            first token of a prompt.
        alternatives: log-probabilities by token id: the likeliest tokens at this position, likeliest first, then
            those requested by id.
        rank: number of tokens at least as likely as this one, itself included.
    """

    id: int
    offset: int
    logprob: float | None = None
    alternatives: Mapping[int, float] = field(default_factory=dict)
    rank: int = 0


@dataclass(slots=True)
class Update:
    """New text of one sequence, the tokens it came from, and the finish reason if the sequence has ended.

    Attributes:
        index: index of the sequence, ``number * choices + choice``.
        text: text that can no longer change. A possible start of a stop string is held back.
        tokens: the tokens of `text`.
        finish_reason: why the sequence ended; None while it continues.
        generated: in the last update, the number of tokens generated in all, including those without text and those
            whose text a stop string cut off; otherwise 0.
        cut: ids of the tokens whose text a stop string cut off.
    """

    index: int
    text: str
    tokens: tuple[Token, ...] = ()
    finish_reason: str | None = None
    generated: int = 0
    cut: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptScores:
    """The tokens of prompt `number` with their log-probabilities; posted once, before any `Update` of that prompt."""

    number: int
    tokens: tuple[Token, ...]


Item = Update | PromptScores
