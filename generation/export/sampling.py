"""Sample texts from an artifact in batches, and record the likeliest next tokens after each token.

The model is the one that the server runs, so the predictions are those of the quantized weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.export.ngrams import Texts
from generation.model.model import Model
from generation.sampling.selection import largest

# Batch size. Larger batches hardly reduce the time per token.
ROWS = 64
# Maximum number of tokens in a text.
LENGTH = 256
# A token is sampled from the TOP_K likeliest, the default of requests. The KEPT likeliest are recorded.
TOP_K, KEPT = 50, 4
_SEED = 23


@dataclass(frozen=True, slots=True)
class Manner:
    """How a text is sampled: the first `opening` tokens at temperature 1, the others at `temperature` (0 is greedy)."""

    temperature: float = 1.0
    opening: int = 0


def write(
    model: Model, manners: Sequence[Manner], *, seed: int = 0, done: Callable[[int], None] = lambda _: None
) -> Texts:
    """Sample a text for each of `manners`, in batches of the model's rows; call `done` with the tokens so far.

    Every text starts with the beginning-of-text token, or with a random token if the model has none.
    """
    random = np.random.default_rng([_SEED, seed])
    config = model.config
    known = np.setdiff1d(np.arange(config.tokens), config.holes)
    first = random.choice(known, len(manners)) if config.begin_of_text is None else [config.begin_of_text]
    starts = np.resize(first, len(manners))
    length = min(LENGTH, config.context)

    def choose(place: int, rows: slice, likeliest: NDArray[np.int64], logits: NDArray[np.float32]) -> NDArray[np.int64]:
        # The largest sum of logits and Gumbel noise is a draw from the softmax (Gumbel 1954).
        heat = np.array([1.0 if place < one.opening else one.temperature for one in manners[rows]])[:, None]
        noisy = logits + heat * random.gumbel(size=logits.shape)
        return np.take_along_axis(likeliest, noisy.argmax(axis=1)[:, None], axis=1)[:, 0]

    return _continue(model, starts, length, choose, done)


def read(model: Model, ids: Sequence[int], *, done: Callable[[int], None] = lambda _: None) -> Texts:
    """Return the model's predictions for `ids`, cut into texts of one length; an incomplete last text is dropped."""
    length = min(LENGTH, model.config.context, len(ids))
    cut = np.array(ids[: len(ids) // length * length], np.int64).reshape(-1, length)

    def follow(place: int, rows: slice, *_: object) -> NDArray[np.int64]:
        following: NDArray[np.int64] = cut[rows, place]
        return following

    return _continue(model, cut[:, 0], length, follow, done)


def _continue(
    model: Model,
    starts: NDArray[np.int64],
    length: int,
    choose: Callable[..., NDArray[np.int64]],
    done: Callable[[int], None],
) -> Texts:
    count, kept = len(starts), min(KEPT, model.config.tokens)
    ids = np.zeros((count, length), np.int64)
    likeliest = np.zeros((count, length, kept), np.int64)
    chances = np.zeros((count, length, kept), np.float32)
    ids[:, 0] = starts
    for begin in range(0, count, model.cache.batch):
        rows = slice(begin, min(count, begin + model.cache.batch))
        for place in range(length):
            lengths = [place] * (rows.stop - begin)
            logits = model.decode(ids[rows, place, None].tolist(), lengths)[:, : model.config.tokens]
            tokens, best = _best(logits, min(TOP_K, model.config.tokens))
            weights = np.exp(best - best[:, :1])
            likeliest[rows, place] = tokens[:, :kept]
            chances[rows, place] = (weights / weights.sum(axis=1, keepdims=True))[:, :kept]
            if place + 1 < length:
                ids[rows, place + 1] = choose(place + 1, rows, tokens, best)
        done(rows.stop * length)
    return Texts(ids, likeliest, chances)


def _best(logits: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the `count` likeliest tokens of each row and their logits, likeliest first."""
    found = []
    for row in logits:
        ids = largest(row, count)
        found.append(ids[np.argsort(-row[ids], kind="stable")[:count]])
    tokens = np.stack(found)
    return tokens, np.take_along_axis(logits, tokens, axis=1)
