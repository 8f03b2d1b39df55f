"""Finding a few entries of a long array without sorting all of it. Exact: the answers are those of a full sort.

A sort of 50,000 values takes milliseconds and even a partition a third of one, as long as a model needs for a token;
what is here takes 0.02 to 0.2 ms.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

# Rows into which `largest` folds its values, and `largest_of_rows` those of each row.
FOLD, FOLD_OF_ROWS = 64, 128
# Bins of `smallest_until`: how many in all, the last one for all larger keys, and how many to 1.
BINS, BINS_PER_UNIT = 512, 16
# Entries that `invert` adds up before it looks at single ones.
BLOCK = 512


def largest(values: Floats, k: int) -> Ids:
    """Return ids, ascending, that surely include the `k` largest values with their ties, and few others."""
    columns = len(values) // FOLD
    if k == 0:
        return np.empty(0, np.int64)
    if k >= columns:
        return np.arange(len(values))
    # k columns have a maximum of at least the k-th largest maximum, so at least k values reach it.
    maxima = values[: columns * FOLD].reshape(FOLD, columns).max(axis=0)
    return np.flatnonzero(values >= np.partition(maxima, columns - k)[columns - k])


def largest_of_rows(rows: Floats, k: int) -> tuple[Ids, Ids]:
    """Return (row, id) of entries that surely include the `k` largest of each row with their ties, and few others.

    In the order of rows and ids. There is none of a row that is not finite where it is largest, or that has too few
    finite values; and none at all where `k` is a large part of a row.
    """
    columns = rows.shape[1] // FOLD_OF_ROWS
    if not 0 < k < columns:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    body, rest = rows[:, : columns * FOLD_OF_ROWS], rows[:, columns * FOLD_OF_ROWS :]
    maxima = body.reshape(len(rows), FOLD_OF_ROWS, columns).max(axis=1)
    least = np.partition(maxima, columns - k, axis=1)[:, columns - k]
    peaks = maxima.max(axis=1)
    if rest.size:
        peaks = np.maximum(peaks, rest.max(axis=1))
    least[~(np.isfinite(peaks) & np.isfinite(least))] = np.nan  # nothing reaches that
    places = np.flatnonzero(rows >= least[:, None])
    return places // rows.shape[1], places % rows.shape[1]


def smallest_until(keys: Floats, weights: Floats, mass: float) -> NDArray[np.bool_]:
    """Mark the smallest keys up to the one at which their weights reach the part `mass` of all weight.

    At least one is marked; among equal keys, the first come first.

    Args:
        keys: at least 0; only the bin in which the mass is reached is sorted, and bins are fine below 32.
        weights: at least 0, not all 0.
        mass: above 0, at most 1.
    """
    bins = np.minimum(keys * np.float32(BINS_PER_UNIT), np.float32(BINS - 1)).astype(np.intp)
    reached = np.cumsum(np.bincount(bins, weights))
    target = mass * reached[-1]
    crossing = int(np.searchsorted(reached, target))
    inside = np.flatnonzero(bins == crossing)
    order = inside[np.argsort(keys[inside], kind="stable")]
    running = np.cumsum(weights[order], dtype=np.float64) + (reached[crossing - 1] if crossing else 0)
    marked: NDArray[np.bool_] = bins < crossing
    marked[order[: int(np.searchsorted(running, target)) + 1]] = True
    return marked


def invert(weights: Floats, uniform: float) -> int:
    """Return the index at which the running sum of `weights` passes the part `uniform`, in [0, 1), of their sum."""
    if len(weights) <= BLOCK:
        running = np.cumsum(weights, dtype=np.float64)
        return _passing(running, uniform * float(running[-1]))
    running = np.cumsum(np.add.reduceat(weights, np.arange(0, len(weights), BLOCK), dtype=np.float64))
    target = uniform * float(running[-1])
    block = _passing(running, target)
    start = block * BLOCK
    inside = np.cumsum(weights[start : start + BLOCK], dtype=np.float64)
    return start + _passing(inside, target - (float(running[block - 1]) if block else 0.0))


def _passing(running: NDArray[np.float64], target: float) -> int:
    """Return the index at which a running sum passes `target`."""
    # Rounding must not carry the target past the last entry that has weight.
    return int(running.searchsorted(min(target, math.nextafter(running[-1], 0)), side="right"))
