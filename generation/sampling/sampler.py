"""The sampler of one sequence: applies the sampling rules in order and draws a token."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.errors import InvalidRequestError
from generation.sampling.params import SamplingParams
from generation.sampling.repetition import apply_dry
from generation.sampling.rules import (
    apply_frequency_presence,
    apply_logit_bias,
    apply_min_p,
    apply_repetition_penalty,
    apply_temperature,
    apply_top_p,
    apply_typical_p,
    apply_xtc,
    draw,
    only,
    ruled_out,
    top_k_candidates,
    top_p_candidates,
    without,
)
from generation.sampling.selection import Floats


@dataclass(frozen=True, slots=True)
class Shared:
    """The rules of rows whose tokens may be chosen together; see `SamplingParams`."""

    top_k: int
    temperature: float
    min_p: float


class NoTokenError(ValueError):
    """No token can be chosen, because no logit is finite."""


class Sampler:
    """Chooses the tokens of one sequence. Equal seeds, indices and logits give equal tokens."""

    def __init__(
        self,
        params: SamplingParams,
        index: int,
        prompt: Sequence[int],
        ends_of_text: Collection[int],
        holes: Collection[int] = (),
    ) -> None:
        """Create the sampler of one choice.

        Args:
            params: the sampling parameters of the request.
            index: number of the choice; with the seed, it determines the random numbers.
            prompt: token ids of the prompt, which the repetition penalties include.
            ends_of_text: tokens that `min_tokens` rules out at first.
            holes: ids of the vocabulary that are not tokens and are never chosen.
        """
        self._params = params
        self._ends_of_text = list(ends_of_text)
        self._holes = list(holes)
        self._greedy = not params.do_sample or params.temperature == 0
        self._seen = set(prompt)
        self._counts: Counter[int] = Counter()
        self._prompt = prompt
        self._generated: list[int] = []
        entropy = None if params.seed is None else [params.seed, index]
        self._random = np.random.Generator(np.random.PCG64(entropy))
        self._shared = None if holes or self._greedy else _shared(params)

    def choose(self, logits: Floats, allowed: NDArray[np.bool_] | None = None) -> int:
        """Choose the next token and record it.

        Args:
            logits: shape [vocabulary]; not modified.
            allowed: which tokens may be chosen, [vocabulary]; None for all.

        Raises:
            NoTokenError: a logit is NaN or infinite.
            InvalidRequestError: the request rules out every token.
        """
        values = self._adjust(logits)
        try:
            if allowed is None:
                token = self._pick(values)
            else:
                ids = np.flatnonzero(allowed)
                token = int(ids[self._pick(values[ids])])
        except NoTokenError:
            if not np.isfinite(logits).all():
                raise
            raise InvalidRequestError("no token can come next: the fields of the request rule out all") from None
        self.record(token)
        return token

    def record(self, token: int) -> None:
        """Take note of a token that was chosen."""
        self._generated.append(token)
        self._seen.add(token)
        self._counts[token] += 1

    @property
    def shared(self) -> Shared | None:
        """The rules for the next token, where it may be chosen together with those of other rows."""
        return self._shared if len(self._generated) >= self._params.min_tokens else None

    def uniform(self) -> float:
        """Draw the number, in [0, 1), that decides the next token."""
        return float(self._random.random())

    def _adjust(self, logits: Floats) -> Floats:
        """Apply the rules that depend on token ids."""
        params = self._params
        if params.repetition_penalty != 1:
            logits = apply_repetition_penalty(logits, np.fromiter(self._seen, np.int64), params.repetition_penalty)
        if params.dry is not None:
            logits = apply_dry(logits, [*self._prompt, *self._generated], params.dry)
        if self._counts and (params.frequency_penalty or params.presence_penalty):
            ids = np.fromiter(self._counts, np.int64)
            counts = np.fromiter(self._counts.values(), np.float32)
            logits = apply_frequency_presence(logits, ids, counts, params.frequency_penalty, params.presence_penalty)
        if params.logit_bias:
            logits = apply_logit_bias(logits, params.logit_bias)
        if params.allowed_token_ids is not None:
            logits = only(logits, params.allowed_token_ids)
        if len(self._generated) < params.min_tokens:
            logits = without(logits, (*self._ends_of_text, *params.stop_token_ids))
        if params.bad_words and (banned := ruled_out(params.bad_words, self._generated)):
            logits = without(logits, banned)
        if self._holes:
            logits = without(logits, self._holes)
        return logits

    def _pick(self, values: Floats) -> int:
        """Apply the rules that depend only on values; return the index of the chosen value."""
        params = self._params
        best = int(values.argmax()) if len(values) else -1
        if best < 0 or not math.isfinite(values[best]):
            raise NoTokenError("no token can be chosen: no logit is finite")
        if self._greedy:
            return best
        # Temperature keeps the order of the logits, so the top-k candidates can be selected before it is applied.
        ids = top_k_candidates(values, params.top_k) if params.top_k else None
        values = apply_temperature(values if ids is None else values[ids], params.temperature)
        top_p = params.top_p
        if top_p < 1 and ids is None:
            ids, top_p = top_p_candidates(values, top_p)
            values = values[ids]
        if top_p < 1:
            values = apply_top_p(values, top_p)
        if params.min_p > 0:
            values = apply_min_p(values, params.min_p)
        if params.typical_p < 1:
            values = apply_typical_p(values, params.typical_p)
        if params.xtc_probability > 0 and self._random.random() < params.xtc_probability:
            values = apply_xtc(values, params.xtc_threshold)
        index = draw(values, self.uniform())
        return index if ids is None else int(ids[index])


def _shared(params: SamplingParams) -> Shared | None:
    """Return the rules of a request that samples, if there are no others than `Shared` has."""
    rules = Shared(params.top_k, params.temperature, params.min_p)
    plain = SamplingParams(
        top_k=rules.top_k,
        temperature=rules.temperature,
        min_p=rules.min_p,
        # These are no rules for the next token, or do not apply to all of them.
        seed=params.seed,
        min_tokens=params.min_tokens,
        ignore_eos=params.ignore_eos,
        stop_token_ids=params.stop_token_ids,
        xtc_threshold=params.xtc_threshold,
    )
    return rules if params.top_k and params == plain else None
