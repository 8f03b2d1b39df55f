"""Weights in 8 bits, with one scale per output channel or per block, and in 4 bits, per block; all symmetric."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from generation.export.errors import ExportError

LARGEST = 127
# Sizes of the blocks. A larger one has fewer scales to read.
BLOCKS = (128, 64, 32)
BLOCKS_OF_BYTES = (256, *BLOCKS)
# Of a block's largest magnitude; each block takes the one with the smallest squared error.
_SHRINK = torch.linspace(0.6, 1.0, 17)
# Added to the diagonal of the moments, as a part of its mean: directions that calibration hardly saw count a little.
_DAMPING = 0.01


@dataclass(frozen=True, slots=True)
class Channels:
    """A quantized matrix: `values` int8 in -127..127, of the matrix's shape, and `scales` float32, one per channel."""

    values: NDArray[np.int8]
    scales: NDArray[np.float32]


def quantize_channels(weight: NDArray[np.float32], axis: int) -> Channels:
    """Quantize a matrix with one scale along `axis` (the output channels), the largest magnitude on 127.

    A channel of zeros gets the scale 1.
    """
    largest = np.abs(weight).max(axis=1 - axis)
    scales = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
    values = np.rint(weight / np.expand_dims(scales, 1 - axis)).astype(np.int8)
    return Channels(values, scales)


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix [J, K]: `scales` [J, K / B], and `values` uint8.

    Nibbles around 8, low nibble first, are [J, K / B, B / 2]; bytes around 128 are [J, K / B, B].
    """

    values: NDArray[np.uint8]
    scales: NDArray[np.float32]


def block_size(*widths: int, sizes: Sequence[int] = BLOCKS) -> int:
    """Return the largest of the `sizes` of a block that divides all `widths`.

    Raises:
        ExportError: there is none.
    """
    for size in sizes:
        if not any(width % size for width in widths):
            return size
    wrong = next(width for width in widths if width % BLOCKS[-1])
    raise ExportError(f"blocks need widths that are multiples of {BLOCKS[-1]}, and there is one of {wrong}: use int8")


def round_blocks(weight: NDArray[np.float32], block: int) -> Blocks:
    """Quantize a matrix [J, K] to 8 bits with a scale for each `block` weights of a row, the largest on 127.

    A block of zeros gets the scale 1.
    """
    rows = weight.reshape(-1, block)
    channels = quantize_channels(rows, axis=0)
    values = (channels.values.astype(np.int16) + 128).astype(np.uint8)
    return Blocks(values.reshape(len(weight), -1, block), channels.scales.reshape(len(weight), -1))


def quantize_blocks(weight: NDArray[np.float32], block: int, moments: NDArray[np.float32] | None = None) -> Blocks:
    """Quantize a matrix [J, K] to 4 bits with a scale for each `block` weights of a row.

    With the second moments of the inputs, [K, K] (see moments.py), every column's rounding error is made up for in the
    columns after it, as far as the inputs are correlated: GPTQ (Frantar et al. 2022, https://arxiv.org/abs/2210.17323).
    Without, each weight is rounded for itself.
    """
    rest = torch.from_numpy(weight.T.copy())  # [K, J], rows side by side in memory
    factor = _inverse_factor(moments, len(rest))
    values, scales = torch.empty_like(rest), []
    for start in range(0, len(rest), block):
        stop = start + block
        scale = _scales(rest[start:stop])
        errors = torch.empty_like(rest[start:stop])
        for column in range(start, stop):
            values[column] = (rest[column] / scale).round().clamp(-8, 7)
            errors[column - start] = (rest[column] - values[column] * scale) / factor[column, column]
            rest[column + 1 : stop].addr_(factor[column, column + 1 : stop], errors[column - start], alpha=-1)
        rest[stop:].addmm_(factor[start:stop, stop:].T, errors, alpha=-1)
        scales.append(scale)
    nibbles = (values.T + 8).to(torch.uint8).numpy().reshape(len(weight), -1, block)
    return Blocks(nibbles[:, :, ::2] | nibbles[:, :, 1::2] << np.uint8(4), torch.stack(scales, dim=1).numpy())


def _inverse_factor(moments: NDArray[np.float32] | None, width: int) -> torch.Tensor:
    """Return the upper Cholesky factor of the inverse of the moments: row k says what column k owes to those after."""
    if moments is None:
        return torch.eye(width)
    damped = torch.from_numpy(moments).double()
    diagonal = damped.diagonal()
    # A channel that was never used is like any other.
    diagonal[diagonal == 0] = diagonal.mean() or 1.0
    diagonal += _DAMPING * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    upper: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return upper.float()


def _scales(block: torch.Tensor) -> torch.Tensor:
    """Return a scale for each column of a block [B, J]; for one of zeros it is 1.

    A nibble reaches from -8 to 7, so the weight of largest magnitude goes to -8.
    """
    largest = block.gather(0, block.abs().argmax(dim=0, keepdim=True))[0]
    full = torch.where(largest == 0, torch.ones_like(largest), largest / -8)
    best, least = full, torch.full_like(full, torch.inf)
    for shrink in _SHRINK:
        scale = full * shrink
        error = ((block / scale).round().clamp(-8, 7) * scale - block).square().sum(dim=0)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return torch.where(largest == 0, full, best)
