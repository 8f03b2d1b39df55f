"""DRY, a sampling rule against repetitions (https://github.com/oobabooga/text-generation-webui/pull/5677)."""

from collections.abc import Sequence

import numpy as np

from generation.sampling.params import Dry
from generation.sampling.selection import Floats, Ids

# Longest repetition to measure, in tokens; it keeps the power finite.
LONGEST = 50


def repeated(history: Sequence[int], rule: Dry) -> tuple[Ids, Ids]:
    """Find the tokens that would extend a repetition.

    A repetition is a sequence at the end of `history` that also occurs earlier. Neither it nor the token that follows
    it there may be a breaker.

    Returns:
        The token ids, ascending, and for each the length of the longest repetition it would extend, in tokens.
    """
    ids = np.asarray(history[-rule.window :], np.int64)
    last = len(ids) - 1
    if last < 1 or int(ids[last]) in rule.breakers:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    ends = np.flatnonzero(ids[:last] == ids[last])
    following = ids[ends + 1]
    kept = [int(token) not in rule.breakers for token in following]
    ends, following = ends[kept], following[kept]
    lengths = np.ones(len(ends), np.int64)
    alive = np.arange(len(ends))
    for back in range(1, min(LONGEST, last)):
        wanted = int(ids[last - back])
        if wanted in rule.breakers:
            break
        places = ends[alive] - back
        alive = alive[(places >= 0) & (ids[np.maximum(places, 0)] == wanted)]
        if not len(alive):
            break
        lengths[alive] += 1
    tokens, where = np.unique(following, return_inverse=True)
    longest = np.zeros(len(tokens), np.int64)
    np.maximum.at(longest, where, lengths)
    return tokens, longest


def apply_dry(logits: Floats, history: Sequence[int], rule: Dry) -> Floats:
    """Return the logits, [vocabulary], less the penalty on tokens that would extend a repetition; see `Dry`."""
    tokens, lengths = repeated(history, rule)
    costly = lengths >= rule.allowed_length
    if not costly.any():
        return logits
    result = logits.copy()
    powers = np.power(rule.base, (lengths[costly] - rule.allowed_length).astype(np.float64))
    with np.errstate(over="ignore"):  # the penalty of a long match may overflow to infinity, which rules the token out
        result[tokens[costly]] -= (rule.multiplier * powers).astype(np.float32)
    return result
