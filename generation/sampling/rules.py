"""The sampling rules, one pure function each: logits of shape [V] in, logits or token ids out.

Where `transformers` has a logits processor of the same name, the rule equals it, and `generation.sampling.sampler`
applies them in the order of its ``generate``. Rules without token ids among their arguments work on any subset of the
vocabulary.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from generation.sampling.selection import Floats, Ids, invert, largest, smallest_until

MINUS_INFINITY = np.float32(-np.inf)
# A lower temperature rounds to 0 in single precision, and 0 / 0 is NaN.
LOWEST_TEMPERATURE = float(np.finfo(np.float32).tiny)


def log_softmax(logits: Floats) -> Floats:
    """Return the natural logarithms of the probabilities."""
    shifted: Floats = logits - logits.max()
    result: Floats = shifted - np.log(np.exp(shifted).sum())
    return result


def top_k_ids(values: Floats, k: int) -> Ids:
    """Return the ids of the `k` largest values, largest first, ties by id."""
    candidates = largest(values, k)
    return candidates[np.argsort(-values[candidates], kind="stable")][:k]


def top_k_candidates(logits: Floats, k: int) -> Ids:
    """Return the ids, ascending, of all values not below the k-th largest, ties included (Fan et al. 2018)."""
    candidates = largest(logits, k)
    if len(candidates) <= k:
        return candidates
    values = logits[candidates]
    kept: Ids = candidates[values >= np.partition(values, len(values) - k)[len(values) - k]]
    return kept


def top_p_candidates(logits: Floats, top_p: float) -> tuple[Ids, float]:
    """Preselect the tokens that `apply_top_p` may keep, so that it need not sort the whole vocabulary.

    Tokens whose probabilities are all below ``(1 - top_p) / V`` sum to less than ``1 - top_p``, so `apply_top_p` drops
    them. This leaves few of 50,000 tokens.

    Args:
        logits: shape [V], with the largest at 0.
        top_p: in (0, 1).

    Returns:
        The ids of the candidates, ascending, and the `top_p` to apply to the candidates alone.
    """
    weights = np.exp(logits)
    total = float(weights.sum(dtype=np.float64))
    # Half of the bound, as a margin for rounding.
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
    """Subtract ``count * frequency + presence`` from the logits of generated tokens, as OpenAI's API defines.

    Args:
        logits: shape [vocabulary].
        ids: the distinct tokens generated so far.
        counts: how often each of them was generated.
        frequency: penalty for each occurrence.
        presence: penalty for at least one occurrence.
    """
    result = logits.copy()
    result[ids] -= counts * np.float32(frequency) + np.float32(presence)
    return result


def apply_logit_bias(logits: Floats, bias: Mapping[int, float]) -> Floats:
    """Add `bias` to the logits of its tokens."""
    result = logits.copy()
    result[list(bias)] += np.fromiter(bias.values(), np.float32)
    return result


def ruled_out(bad_words: Iterable[tuple[int, ...]], generated: Sequence[int]) -> list[int]:
    """Return the last token of each of `bad_words` whose other tokens end `generated`, as in vLLM."""
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
    """Divide by the temperature, above 0; subtract the largest logit of each row first, so that none overflows.

    `logits` has the shape [vocabulary] or [rows, vocabulary].
    """
    result: Floats = logits - logits.max(axis=-1, keepdims=True)
    if temperature == 1:
        return result
    with np.errstate(over="ignore"):
        result /= np.float32(max(temperature, LOWEST_TEMPERATURE))
    return result


def apply_top_p(logits: Floats, top_p: float) -> Floats:
    """Set to -inf all but the fewest likeliest tokens that sum to at least `top_p` (Holtzman et al. 2020)."""
    if top_p >= 1:
        return logits
    # Reversed, because `transformers` keeps the higher ids among equal logits.
    keys = (logits.max() - logits)[::-1]
    return np.where(smallest_until(keys, np.exp(-keys), top_p)[::-1], logits, MINUS_INFINITY)


def apply_min_p(logits: Floats, min_p: float) -> Floats:
    """Set to -inf tokens whose probability is below the fraction `min_p` of the top token's."""
    if min_p == 0:
        return logits
    # A ratio of probabilities is a difference of logits.
    return np.where(logits < float(logits.max()) + math.log(min_p), MINUS_INFINITY, logits)


def apply_typical_p(logits: Floats, typical_p: float) -> Floats:
    """Keep the tokens whose information is closest to the entropy, up to probability `typical_p`; others get -inf.

    This is locally typical sampling (Meister et al. 2022). Of equally close tokens, all or none are kept.
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
    """Of the tokens with at least the probability `threshold`, set all but the least likely to -inf.

    This is XTC, "exclude top choices" (https://github.com/oobabooga/text-generation-webui/pull/6335).
    """
    probabilities = np.exp(log_softmax(logits))
    top = np.flatnonzero(probabilities >= np.float32(threshold))
    if len(top) <= 1:
        return logits
    # Reversed, so that the last of equal tokens counts as the least likely, as in a stable descending sort.
    kept = top[len(top) - 1 - int(np.argmin(probabilities[top][::-1]))]
    return without(logits, top[top != kept].tolist())


def draw(logits: Floats, uniform: float) -> int:
    """Draw a token by inverse transform sampling: return the id at which the cumulative probability passes `uniform`.

    Args:
        logits: shape [V].
        uniform: a random number in [0, 1).
    """
    weights = logits - logits.max()
    np.exp(weights, out=weights)
    return invert(weights, uniform)
