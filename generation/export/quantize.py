"""Quantize weights symmetrically: to 8 bits with a scale per output channel or per block, or to 4 bits per block."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from generation.export.errors import ExportError

LARGEST = 127
# Sizes of the blocks, in order of preference. Larger blocks have fewer scales to read.
BLOCKS = (128, 64, 32)
BLOCKS_OF_BYTES = (256, *BLOCKS)
# Fractions of a block's largest magnitude. Each block uses the one with the smallest squared error.
_SHRINK = torch.linspace(0.6, 1.0, 17)
# Fraction of the mean of the moments' diagonal that is added to it, so that rare directions count a little.
_DAMPING = 0.01


@dataclass(frozen=True, slots=True)
class Channels:
    """A quantized matrix.

    Attributes:
        values: int8 in -127..127, in the shape of the matrix.
        scales: float32, one for each channel.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]


def quantize_channels(weight: NDArray[np.float32], axis: int) -> Channels:
    """Quantize a matrix with one scale per entry of `axis`, the output channels; the largest magnitude becomes 127.

    A channel of zeros gets the scale 1.
    """
    largest = np.abs(weight).max(axis=1 - axis)
    scales = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
    values = np.rint(weight / np.expand_dims(scales, 1 - axis)).astype(np.int8)
    return Channels(values, scales)


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix of shape [J, K], quantized to 4 or 8 bits in blocks of B weights.

    Attributes:
        values: uint8. 4 bits: [J, K / B, B / 2], two numbers with zero point 8 in each byte, the lower four bits first.
            8 bits: [J, K / B, B], with zero point 128.
        scales: float32 [J, K / B].
    """

    values: NDArray[np.uint8]
    scales: NDArray[np.float32]


def block_size(*widths: int, sizes: Sequence[int] = BLOCKS) -> int:
    """Return the largest of `sizes` that divides all `widths`.

    Raises:
        ExportError: no block size does.
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
    """Quantize a matrix, [J, K], to 4 bits with one scale per `block` weights of a row.

    With the second moments of the inputs, [K, K] (see moments.py), the later columns compensate for the rounding error
    of each column, as far as their inputs are correlated: GPTQ (Frantar et al. 2022, https://arxiv.org/abs/2210.17323).
    Without them, each weight is rounded independently.
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
    """Return the upper Cholesky factor of the inverse moments; row k spreads the error of column k over later ones."""
    if moments is None:
        return torch.eye(width)
    damped = torch.from_numpy(moments).double()
    diagonal = damped.diagonal()
    # A channel that calibration never used gets the mean moment, so that the matrix is invertible.
    diagonal[diagonal == 0] = diagonal.mean() or 1.0
    diagonal += _DAMPING * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    upper: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return upper.float()


def _scales(block: torch.Tensor) -> torch.Tensor:
    """Return a scale for each column of a block, [B, J]; 1 for a column of zeros.

    Four bits hold -8 to 7, so the weight of largest magnitude becomes -8.
    """
    largest = block.gather(0, block.abs().argmax(dim=0, keepdim=True))[0]
    full = torch.where(largest == 0, torch.ones_like(largest), largest / -8)
    best, least = full, torch.full_like(full, torch.inf)
    for shrink in _SHRINK:
        scale = full * shrink
        error = ((block / scale).round().clamp(-8, 7) * scale - block).square().sum(dim=0)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return torch.where(largest == 0, full, best)
