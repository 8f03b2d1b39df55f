"""Choose the tokens of adjacent rows of a batch in one pass, with the same result as one row at a time.

Rows are combined if their samplers use ``top_k`` and apply no rule that depends on particular tokens. Numpy is then
called once for all rows instead of about 20 times for each. Greedy rows are excluded: each is a single `argmax`, which
combining would not speed up.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from generation.sampling.rules import MINUS_INFINITY, apply_temperature
from generation.sampling.sampler import Sampler, Shared
from generation.sampling.selection import BLOCK, Ids, largest_of_rows

Rows = NDArray[np.float32]
Tokens = list[int | None]


def choose_together(logits: Rows, samplers: Sequence[Sampler | None]) -> Tokens:
    """Return the token of each row of `logits`, [R, vocabulary], and record it in the row's sampler.

    A row with None must be sampled by itself; nothing has been recorded or drawn for it.
    """
    tokens: Tokens = [None] * len(samplers)
    for shared, places in _runs(samplers):
        rows = slice(places[0], places[-1] + 1)
        own = [sampler for sampler in samplers[rows] if sampler is not None]
        found = _drawn(logits[rows], shared, own)
        for place, token, sampler in zip(places, found, own, strict=True):
            if token is not None:
                sampler.record(token)
                tokens[place] = token
    return tokens


def _runs(samplers: Sequence[Sampler | None]) -> Iterator[tuple[Shared, list[int]]]:
    """Yield each run of two or more adjacent rows with the same rules, as the rules and the row indices."""
    shared = [None if sampler is None else sampler.shared for sampler in samplers]
    for rules, places in groupby(range(len(samplers)), key=shared.__getitem__):
        run = list(places)
        if rules is not None and len(run) > 1:
            yield rules, run


def _drawn(logits: Rows, shared: Shared, samplers: Sequence[Sampler]) -> Tokens:
    rows, ids = largest_of_rows(logits, shared.top_k)
    counts = np.bincount(rows, minlength=len(logits))
    # With more candidates than this, sampling one row adds the probabilities in another order.
    usable = (counts > 0) & (counts <= BLOCK)
    if not usable.all():
        kept = usable[rows]
        rows, ids, counts = rows[kept], ids[kept], np.where(usable, counts, 0)
        if not len(rows):
            return [None] * len(samplers)
    columns = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
    values = np.full((len(logits), int(counts.max())), MINUS_INFINITY)
    values[:, 0] = 0  # only unusable rows keep the 0
    values[rows, columns] = logits[rows, ids]
    uniforms = [sampler.uniform() if one else 0.0 for sampler, one in zip(samplers, usable, strict=True)]
    chosen = _draw(_ruled(values, shared), np.array(uniforms))
    tokens = np.zeros(values.shape, np.int64)
    tokens[rows, columns] = ids
    picked = tokens[np.arange(len(tokens)), chosen].tolist()
    return [token if one else None for token, one in zip(picked, usable, strict=True)]


def _ruled(values: Rows, shared: Shared) -> Rows:
    """Apply the rules to the candidates of each row; return logits shifted so that the largest is 0."""
    width = values.shape[1]
    if width > shared.top_k:
        values[values < np.partition(values, width - shared.top_k, axis=1)[:, [width - shared.top_k]]] = MINUS_INFINITY
    values = apply_temperature(values, shared.temperature)
    if shared.min_p > 0:
        values[values < math.log(shared.min_p)] = MINUS_INFINITY
    return values


def _draw(values: Rows, uniforms: NDArray[np.float64]) -> Ids:
    """Return the first index in each row whose cumulative probability exceeds the row's number of `uniforms`."""
    running = np.cumsum(np.exp(values), axis=1, dtype=np.float64)
    totals = running[:, -1]
    # Rounding must not move the target past the last entry with a non-zero probability.
    targets = np.minimum(uniforms * totals, np.nextafter(totals, 0))
    places: Ids = (running <= targets[:, None]).sum(axis=1)
    return places
