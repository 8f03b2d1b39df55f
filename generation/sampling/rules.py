"""The sampling rules: pure functions on logits, one rule each.

Each rule equals the logits processor of the same name in `transformers`, in the order in which its ``generate`` applies
them. All but the penalties look only at values, so they work on any subset of the vocabulary.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from generation.sampling.selection import Floats, Ids, invert, largest, smallest_until

MINUS_INFINITY = np.float32(-np.inf)
# A temperature below this is 0 in single precision, and 0 / 0 is not a number.
LOWEST_TEMPERATURE = float(np.finfo(np.float32).tiny)


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


def ruled_out(bad_words: Iterable[tuple[int, ...]], generated: Sequence[int]) -> list[int]:
    """Return the last tokens of those `bad_words` whose other tokens were just generated, as vLLM does."""
    return [
        word[-1]
        for word in bad_words
        if len(word) <= len(generated) + 1 and tuple(generated[len(generated) - len(word) + 1 :]) == word[:-1]
    ]


def without(logits: Floats, ids: Sequence[int]) -> Floats:
    """Set the logits of `ids` to -inf."""
    result = logits.copy()
    result[list(ids)] = MINUS_INFINITY
    return result


def only(logits: Floats, ids: Sequence[int]) -> Floats:
    """Set all logits but those of `ids` to -inf."""
    result = np.full_like(logits, MINUS_INFINITY)
    result[list(ids)] = logits[list(ids)]
    return result


def apply_temperature(logits: Floats, temperature: float) -> Floats:
    """Divide by the temperature, above 0; the largest logit of each row is subtracted first.

    So nothing overflows upwards. Logits are [vocabulary] or [rows, vocabulary].
    """
    result: Floats = logits - logits.max(axis=-1, keepdims=True)
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


def apply_xtc(logits: Floats, threshold: float) -> Floats:
    """Set to -inf all tokens of at least the probability `threshold` but the least likely of them.

    Exclude top choices (https://github.com/oobabooga/text-generation-webui/pull/6335).
    """
    probabilities = np.exp(log_softmax(logits))
    top = np.flatnonzero(probabilities >= np.float32(threshold))
    if len(top) <= 1:
        return logits
    # Backwards, so that of equals the last counts as less likely, as in a stable sort from the likeliest.
    kept = top[len(top) - 1 - int(np.argmin(probabilities[top][::-1]))]
    return without(logits, top[top != kept].tolist())


def draw(logits: Floats, uniform: float) -> int:
    """Return the index at which the cumulative probability passes `uniform`, in [0, 1)."""
    weights = logits - logits.max()
    np.exp(weights, out=weights)
    return invert(weights, uniform)
