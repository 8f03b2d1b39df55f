"""From logits to a token: pure functions, one rule each, and a sampler that applies them in order.

Each rule equals the logits processor of the same name in `transformers`, in the order in which its ``generate`` applies
them. All but the penalties look only at values, so they work on any subset of the vocabulary.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

# Vocabulary entries per block when looking for the largest values.
BLOCK = 64


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


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Return the probabilities, in double precision, so that sums of many small ones are right."""
    weights: NDArray[np.float64] = np.exp(logits.astype(np.float64) - float(logits.max()))
    weights /= weights.sum()
    return weights


def top_k_ids(values: Floats, k: int) -> Ids:
    """Return the ids of the `k` largest values, largest first, ties by id."""
    candidates = _candidates(values, k)
    return candidates[np.argsort(-values[candidates], kind="stable")][:k]


def top_k_candidates(logits: Floats, k: int) -> Ids:
    """Return the ids, ascending, of all values that are at least the k-th largest, ties included (Fan et al. 2018)."""
    candidates = _candidates(logits, k)
    if len(candidates) <= k:
        return candidates
    values = logits[candidates]
    kept: Ids = candidates[values >= np.partition(values, len(values) - k)[len(values) - k]]
    return kept


def _candidates(values: Floats, k: int) -> Ids:
    """Return ids, ascending, that surely include the `k` largest values with their ties, and few others.

    At least k values reach the k-th largest of the maxima of blocks; looking only at those is several times as fast as
    a partition of the whole vocabulary.
    """
    blocks = len(values) // BLOCK
    if k == 0:
        return np.empty(0, np.int64)
    if k >= blocks:
        return np.arange(len(values))
    maxima = values[: blocks * BLOCK].reshape(blocks, BLOCK).max(axis=1)
    return np.flatnonzero(values >= np.partition(maxima, blocks - k)[blocks - k])


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
    """Divide by the temperature; the largest logit is subtracted first, so that nothing overflows."""
    result: Floats = (logits - logits.max()) / np.float32(temperature)
    return result


def apply_top_p(logits: Floats, top_p: float) -> Floats:
    """Set to -inf all but the likeliest tokens that together hold `top_p` (Holtzman et al. 2020); one always stays."""
    # Ascending, as in `transformers`, so that ties and rounding fall the same way.
    order = np.argsort(logits, kind="stable")
    cumulative = np.cumsum(softmax(logits)[order])
    remove = cumulative <= 1 - top_p
    remove[-1] = False
    result = logits.copy()
    result[order[remove]] = -np.inf
    return result


def apply_min_p(logits: Floats, min_p: float) -> Floats:
    """Set to -inf tokens with less than `min_p` times the probability of the likeliest."""
    probabilities = softmax(logits)
    return np.where(probabilities < min_p * probabilities.max(), np.float32(-np.inf), logits)


def apply_typical_p(logits: Floats, typical_p: float) -> Floats:
    """Keep the tokens whose information is closest to the entropy, up to mass `typical_p` (Meister et al. 2022)."""
    probabilities = softmax(logits)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = -np.log(probabilities)
        entropy = np.nansum(information * probabilities)
    order = np.argsort(np.abs(information - entropy), kind="stable")
    last = int(np.searchsorted(np.cumsum(probabilities[order]), typical_p))
    result = logits.copy()
    result[order[last + 1 :]] = -np.inf
    return result


def draw(logits: Floats, uniform: float) -> int:
    """Return the index at which the cumulative probability passes `uniform`, in [0, 1)."""
    cumulative = np.cumsum(softmax(logits))
    index = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    return min(index, len(logits) - 1)


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
        """Choose a token from its logits, [vocabulary], which are not changed; `allowed` limits the choice."""
        token = self._choose(self._adjust(logits, allowed))
        self._generated += 1
        self._seen.add(token)
        self._counts[token] += 1
        return token

    def _adjust(self, logits: Floats, allowed: NDArray[np.bool_] | None) -> Floats:
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
            logits[self._end_of_text] = -np.inf
        return logits if allowed is None else np.where(allowed, logits, np.float32(-np.inf))

    def _choose(self, logits: Floats) -> int:
        params = self._params
        if self._greedy:
            return int(logits.argmax())
        # The order of the logits is that of the tempered ones, so the candidates can be found first.
        ids = top_k_candidates(logits, params.top_k) if params.top_k else None
        values = apply_temperature(logits if ids is None else logits[ids], params.temperature)
        if params.top_p < 1:
            values = apply_top_p(values, params.top_p)
        if params.min_p > 0:
            values = apply_min_p(values, params.min_p)
        if params.typical_p < 1:
            values = apply_typical_p(values, params.typical_p)
        index = draw(values, self._random.random())
        return index if ids is None else int(ids[index])
