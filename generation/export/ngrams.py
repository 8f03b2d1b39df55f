"""Make a draft table from texts: the likeliest token after a context of one to four tokens, and its probability.

For each context, the probabilities that the model gives to the likeliest next tokens are summed. Counting the sampled
tokens instead would need many occurrences of a context for the same accuracy.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from generation.model.draft_table import ENTRY, FACTOR, KEY_SHIFT, LEVELS, MAGIC, ORDER, TOKEN_BITS

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]
Keys = NDArray[np.uint64]

# Weight of an improved probability estimate in the value of an entry.
SHARPER = 0.25
# Weight of the shorter context's probabilities as a prior for those of the longer one, in occurrences.
PRIOR = 4.0
_TOKEN = (1 << TOKEN_BITS) - 1


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts of one length, with the model's predictions after each token.

    Attributes:
        ids: token ids, [N, T].
        likeliest: the K likeliest next tokens after each token, [N, T, K].
        chances: their probabilities, [N, T, K].
    """

    ids: Integers
    likeliest: Integers
    chances: Floats


@dataclass(frozen=True, slots=True)
class _Level:
    """The U contexts of one length, and P pairs of a context and a candidate next token, both sorted.

    Attributes:
        keys: the key of each context, [U].
        context: index of the context that ends at each token of the texts, [N * T]; -1 if too few tokens precede it.
        pairs: index of a context, shifted by `TOKEN_BITS`, with a token in the low bits, [P].
        chances: probability of the token after the context, [P].
        best: index of the likeliest pair of each context, [U].
        worth: value of an entry for each context, in accepted tokens, [U].
    """

    keys: Keys
    context: Integers
    pairs: Integers
    chances: NDArray[np.float64]
    best: Integers
    worth: NDArray[np.float64]

    def chance(self, contexts: Integers, tokens: Integers) -> NDArray[np.float64]:
        """Return the probability of each token after its context; 0 for a pair that was not seen."""
        wanted = contexts << TOKEN_BITS | tokens
        places = np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)
        return np.where(self.pairs[places] == wanted, self.chances[places], 0.0)

    def packed(self) -> Keys:
        """Return the entry of each context, [U]."""
        levels = np.minimum((self.chances[self.best] * LEVELS).astype(np.uint64), np.uint64(LEVELS - 1))
        tokens = (self.pairs[self.best] & _TOKEN).astype(np.uint64)
        return self.keys << np.uint64(KEY_SHIFT) | levels << np.uint64(TOKEN_BITS) | tokens


def entries(texts: Texts, limit: int) -> Keys:
    """Return the most valuable entries of a draft table, sorted. With the header they take at most `limit` bytes."""
    levels = list(_levels(texts))
    packed = np.concatenate([level.packed() for level in levels])
    worth = np.concatenate([level.worth for level in levels])
    order = np.argsort(-worth, kind="stable")[: max(0, limit - len(MAGIC)) // ENTRY]
    order = order[worth[order] > 0]
    kept = packed[order]
    # Two contexts may have the same key. The more valuable one comes first and is kept.
    _, first = np.unique(kept >> np.uint64(KEY_SHIFT), return_index=True)
    return np.sort(kept[first])


def contents(table: Keys) -> bytes:
    """Return the bytes of a draft table file with these entries."""
    return MAGIC + table.astype("<u8").tobytes()


def hashes(ids: Integers) -> Iterator[Keys]:
    """Yield the hash of the context that ends at each token, [N, T], for contexts of 1 to `ORDER` tokens.

    A token with too few tokens before it has the hash 0.
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
