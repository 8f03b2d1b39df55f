"""Make a draft table of texts: which token follows a context of one to four tokens, and how often.

A context that was seen often enough to be measured is worth more than the token that happened to follow it. So the
probabilities that the model gives to the likeliest next tokens are added up, not the tokens that were drawn: one
occurrence says as much as many draws would.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from generation.model.draft_table import ENTRY, FACTOR, KEY_SHIFT, LEVELS, MAGIC, ORDER, TOKEN_BITS

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]
Keys = NDArray[np.uint64]

# Part of an entry's worth that a better estimate of the chance has, where the guess stays the same.
SHARPER = 0.25
# How many occurrences the shorter context counts for in the chances of a longer one.
PRIOR = 4.0
_TOKEN = (1 << TOKEN_BITS) - 1


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts of one length, with what the model expects after each of their tokens.

    Attributes:
        ids: [N, T].
        likeliest: the likeliest next tokens after each token, [N, T, K].
        chances: their probabilities, [N, T, K].
    """

    ids: Integers
    likeliest: Integers
    chances: Floats


@dataclass(frozen=True, slots=True)
class _Level:
    """Contexts of one length, U of them, with P pairs of a context and a token that may follow, both sorted.

    Attributes:
        keys: the key of each context, [U].
        context: which context each token of the texts ends, [N * T]; -1 where the text has too few tokens before it.
        pairs: the number of a context, shifted, and a token, [P].
        chances: that the token follows, [P].
        best: which pair of each context is the likeliest, [U].
        worth: of an entry for each context, in accepted tokens, [U].
    """

    keys: Keys
    context: Integers
    pairs: Integers
    chances: NDArray[np.float64]
    best: Integers
    worth: NDArray[np.float64]

    def chance(self, contexts: Integers, tokens: Integers) -> NDArray[np.float64]:
        """Return the chance that each token follows its context; 0 where that was not seen."""
        wanted = contexts << TOKEN_BITS | tokens
        places = np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)
        return np.where(self.pairs[places] == wanted, self.chances[places], 0.0)

    def packed(self) -> Keys:
        """Return the entry of each context, [U]."""
        levels = np.minimum((self.chances[self.best] * LEVELS).astype(np.uint64), np.uint64(LEVELS - 1))
        tokens = (self.pairs[self.best] & _TOKEN).astype(np.uint64)
        return self.keys << np.uint64(KEY_SHIFT) | levels << np.uint64(TOKEN_BITS) | tokens


def entries(texts: Texts, limit: int) -> Keys:
    """Return the most useful entries of a draft table, sorted: at most `limit` bytes with the header."""
    levels = list(_levels(texts))
    packed = np.concatenate([level.packed() for level in levels])
    worth = np.concatenate([level.worth for level in levels])
    order = np.argsort(-worth, kind="stable")[: max(0, limit - len(MAGIC)) // ENTRY]
    order = order[worth[order] > 0]
    kept = packed[order]
    # Two contexts may have one key: the more useful one, which comes first, stays.
    _, first = np.unique(kept >> np.uint64(KEY_SHIFT), return_index=True)
    return np.sort(kept[first])


def contents(table: Keys) -> bytes:
    """Return the file of a draft table with these entries."""
    return MAGIC + table.astype("<u8").tobytes()


def hashes(ids: Integers) -> Iterator[Keys]:
    """Yield, for contexts of one token, of two, and so on, the hash of the context that each token ends, [N, T].

    Tokens before the first that has so long a context have the hash 0.
    """
    factor, shift = np.uint64(FACTOR), np.uint64(31)
    hashed = np.zeros(ids.shape, np.uint64)
    shifted = ids.astype(np.uint64) + np.uint64(1)
    for size in range(1, ORDER + 1):
        hashed = (hashed ^ (hashed >> shift) ^ shifted) * factor
        hashed[:, : size - 1] = 0
        yield hashed
        shifted = np.roll(shifted, 1, axis=1)


def _levels(texts: Texts) -> Iterator[_Level]:
    lower = None
    for size, hashed in enumerate(hashes(texts.ids), start=1):
        valid = np.broadcast_to(np.arange(texts.ids.shape[1]) >= size - 1, texts.ids.shape).ravel()
        lower = _level((hashed >> np.uint64(KEY_SHIFT)).ravel(), valid, texts, lower)
        yield lower


def _level(keyed: Keys, valid: NDArray[np.bool_], texts: Texts, lower: _Level | None) -> _Level:
    keys, first, numbers, counts = np.unique(keyed[valid], return_index=True, return_inverse=True, return_counts=True)
    context = np.full(len(keyed), -1)
    context[valid] = numbers
    following = texts.likeliest.reshape(len(keyed), -1)[valid]
    every = (numbers[:, None] << TOKEN_BITS | following).ravel()
    pairs, which = np.unique(every, return_inverse=True)
    sums = np.bincount(which, texts.chances.reshape(len(keyed), -1)[valid].ravel())
    owners, tokens = pairs >> TOKEN_BITS, pairs & _TOKEN
    if lower is None:
        chances = sums / counts[owners]
    else:
        shorter = lower.context[valid][first]
        prior = lower.chance(shorter[owners], tokens)
        chances = (sums + PRIOR * prior) / (counts[owners] + PRIOR)
    order = np.lexsort((-chances, owners))
    best = order[np.searchsorted(owners, np.arange(len(keys)))]
    made = _Level(keys, context, pairs, chances, best, np.zeros(0))
    if lower is None:
        worth = counts * chances[best]
    else:
        otherwise = lower.pairs[lower.best[shorter]] & _TOKEN
        gained = chances[best] - made.chance(np.arange(len(keys)), otherwise)
        sharper = np.abs(chances[best] - lower.chances[lower.best[shorter]])
        worth = counts * (gained + SHARPER * sharper)
    return replace(made, worth=worth)
