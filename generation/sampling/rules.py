"""From logits to a token: pure functions, one rule each, and a sampler that applies them in order.

Each rule equals the logits processor of the same name in `transformers`, in the order in which its ``generate`` applies
them. All but the penalties look only at values, so they work on any subset of the vocabulary.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from generation.sampling.selection import Floats, Ids, invert, largest, smallest_until

MINUS_INFINITY = np.float32(-np.inf)
# A temperature below this is 0 in single precision, and 0 / 0 is not a number.
LOWEST_TEMPERATURE = float(np.finfo(np.float32).tiny)


class NoTokenError(ValueError):
    """There is no token to choose: every one is ruled out, or the logits are not finite."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens. The HTTP layer checks the ranges.

    Attributes:
        do_sample: draw from the distribution; otherwise always the likeliest token.
        temperature: divides the logits; 0 means no sampling.
        top_k: keep this many of the likeliest tokens; 0 = all.
        top_p: keep the likeliest tokens that together hold this probability, in (0, 1].
        min_p: keep tokens with at least this part of the likeliest token's probability, in [0, 1].
        typical_p: keep the tokens closest to the expected information that together hold this probability, in (0, 1].
        repetition_penalty: divides positive and multiplies negative logits of tokens seen in prompt or text; above 0.
        frequency_penalty: subtracted from a token's logit for every time it was generated.
        presence_penalty: subtracted from a token's logit if it was generated.
        logit_bias: added to the logits of these tokens.
        seed: from 0 to 2**64 - 1; None draws fresh entropy.
        min_tokens: end-of-text cannot be chosen before this many tokens.
        ignore_eos: whether the sequence goes on past end-of-text; that is the sequence's concern, not the sampler's.
    """

    do_sample: bool = True
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False


def log_softmax(logits: Floats) -> Floats:
    """Return the logarithms of the probabilities."""
    shifted: Floats = logits - logits.max()
    result: Floats = shifted - np.log(np.exp(shifted).sum())
    return result


def top_k_ids(values: Floats, k: int) -> Ids:
    """Return the ids of the `k` largest values, largest first, ties by id."""
    candidates = largest(values, k)
    return candidates[np.argsort(-values[candidates], kind="stable")][:k]


def top_k_candidates(logits: Floats, k: int) -> Ids:
    """Return the ids, ascending, of all values that are at least the k-th largest, ties included (Fan et al. 2018)."""
    candidates = largest(logits, k)
    if len(candidates) <= k:
        return candidates
    values = logits[candidates]
    kept: Ids = candidates[values >= np.partition(values, len(values) - k)[len(values) - k]]
    return kept


def top_p_candidates(logits: Floats, top_p: float) -> tuple[Ids, float]:
    """Return ids, ascending, that surely include all tokens that `apply_top_p` keeps, and the part of them to keep.

    Tokens below an equal share of what `top_p` leaves over cannot hold as much as that together, so none is needed. Of
    50,000 tokens few are left, and the sorting of the rest is saved.

    Args:
        logits: with the largest at 0.
        top_p: in (0, 1).
    """
    weights = np.exp(logits)
    total = float(weights.sum(dtype=np.float64))
    # Half of the share, to be on the safe side of rounding.
    candidates = np.flatnonzero(weights >= np.float32(0.5 * (1 - top_p) * total / len(weights)))
    return candidates, top_p * total / float(weights[candidates].sum(dtype=np.float64))


def apply_repetition_penalty(logits: Floats, seen: Ids, penalty: float) -> Floats:
    """Divide positive and multiply negative logits of the tokens `seen` by `penalty` (Keskar et al. 2019)."""
    result = logits.copy()
    values = result[seen]
    result[seen] = np.where(values < 0, values * np.float32(penalty), values / np.float32(penalty))
    return result


def apply_frequency_presence(
    logits: Floats, ids: Ids, counts: NDArray[np.float32], frequency: float, presence: float
) -> Floats:
    """Subtract ``count * frequency + presence`` from the tokens generated so far, as OpenAI defines the penalties."""
    result = logits.copy()
    result[ids] -= counts * np.float32(frequency) + np.float32(presence)
    return result


def apply_logit_bias(logits: Floats, bias: Mapping[int, float]) -> Floats:
    """Add `bias` to the logits of its tokens."""
    result = logits.copy()
    result[list(bias)] += np.fromiter(bias.values(), np.float32)
    return result


def apply_temperature(logits: Floats, temperature: float) -> Floats:
    """Divide by the temperature, above 0; the largest logit is subtracted first, so that nothing overflows upwards."""
    result: Floats = logits - logits.max()
    if temperature == 1:
        return result
    with np.errstate(over="ignore"):
        result /= np.float32(max(temperature, LOWEST_TEMPERATURE))
    return result


def apply_top_p(logits: Floats, top_p: float) -> Floats:
    """Set to -inf all but the likeliest tokens that together hold `top_p` (Holtzman et al. 2020); one always stays."""
    if top_p >= 1:
        return logits
    # Backwards, because `transformers` keeps the higher ids among equals.
    keys = (logits.max() - logits)[::-1]
    return np.where(smallest_until(keys, np.exp(-keys), top_p)[::-1], logits, MINUS_INFINITY)


def apply_min_p(logits: Floats, min_p: float) -> Floats:
    """Set to -inf tokens with less than `min_p` times the probability of the likeliest."""
    if min_p == 0:
        return logits
    # A ratio of probabilities is a difference of logits.
    return np.where(logits < float(logits.max()) + math.log(min_p), MINUS_INFINITY, logits)


def apply_typical_p(logits: Floats, typical_p: float) -> Floats:
    """Keep the tokens whose information is closest to the entropy, up to mass `typical_p` (Meister et al. 2022).

    Of those that are equally close, all stay.
    """
    if typical_p >= 1:
        return logits
    information = -log_softmax(logits)
    probabilities = np.exp(-information)
    entropy = (probabilities * np.where(probabilities > 0, information, 0)).sum()
    keys = np.abs(information - entropy)
    furthest = keys[smallest_until(keys, probabilities, typical_p)].max()
    return np.where(keys <= furthest, logits, MINUS_INFINITY)


def draw(logits: Floats, uniform: float) -> int:
    """Return the index at which the cumulative probability passes `uniform`, in [0, 1)."""
    weights = logits - logits.max()
    np.exp(weights, out=weights)
    return invert(weights, uniform)


class Sampler:
    """Chooses the tokens of one sequence. The same seed, index and logits give the same tokens, whatever else runs."""

    def __init__(self, params: SamplingParams, index: int, prompt: Sequence[int], end_of_text: int) -> None:
        self._params = params
        self._end_of_text = end_of_text
        self._greedy = not params.do_sample or params.temperature == 0
        self._seen = set(prompt)
        self._counts: Counter[int] = Counter()
        self._generated = 0
        entropy = None if params.seed is None else [params.seed, index]
        self._random = np.random.Generator(np.random.PCG64(entropy))

    def choose(self, logits: Floats, allowed: NDArray[np.bool_] | None = None) -> int:
        """Choose a token from its logits, [vocabulary], which are not changed; `allowed` limits the choice.

        Raises:
            NoTokenError: no token is left, or a logit is NaN or infinite.
        """
        values = self._adjust(logits)
        if allowed is None:
            token = self._pick(values)
        else:
            ids = np.flatnonzero(allowed)
            token = int(ids[self._pick(values[ids])])
        self._generated += 1
        self._seen.add(token)
        self._counts[token] += 1
        return token

    def _adjust(self, logits: Floats) -> Floats:
        """Apply the rules that look at particular tokens."""
        params = self._params
        if params.repetition_penalty != 1:
            logits = apply_repetition_penalty(logits, np.fromiter(self._seen, np.int64), params.repetition_penalty)
        if self._counts and (params.frequency_penalty or params.presence_penalty):
            ids = np.fromiter(self._counts, np.int64)
            counts = np.fromiter(self._counts.values(), np.float32)
            logits = apply_frequency_presence(logits, ids, counts, params.frequency_penalty, params.presence_penalty)
        if params.logit_bias:
            logits = apply_logit_bias(logits, params.logit_bias)
        if self._generated < params.min_tokens:
            logits = logits.copy()
            logits[self._end_of_text] = MINUS_INFINITY
        return logits

    def _pick(self, values: Floats) -> int:
        """Return the index of the chosen value, by the rules that look only at values."""
        params = self._params
        best = int(values.argmax()) if len(values) else -1
        if best < 0 or not math.isfinite(values[best]):
            raise NoTokenError("no token can be chosen: all are ruled out, or the logits are not finite")
        if self._greedy:
            return best
        # The order of the logits is that of the tempered ones, so the candidates can be found first.
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
        index = draw(values, self._random.random())
        return index if ids is None else int(ids[index])
