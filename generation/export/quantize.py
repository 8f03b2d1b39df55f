"""Weights in 8 bits, with one scale per output channel, and in 4 bits, with one scale per block; both symmetric."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.export.errors import ExportError

LARGEST = 127
BLOCK = 32
# Of a block's largest magnitude; each block takes the one with the smallest squared error.
_SHRINK = np.linspace(0.6, 1.0, 17, dtype=np.float32)


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
    """A matrix [J, K] in nibbles around 8: `values` uint8 [J, K / 32, 16], low nibble first; `scales` [J, K / 32]."""

    values: NDArray[np.uint8]
    scales: NDArray[np.float32]


def quantize_blocks(weight: NDArray[np.float32]) -> Blocks:
    """Quantize a matrix [J, K] to 4 bits with a scale for each 32 weights of a row.

    A nibble reaches from -8 to 7, so the weight of largest magnitude goes to -8. A block of zeros gets the scale 1.

    Raises:
        ExportError: K is no multiple of 32.
    """
    rows, columns = weight.shape
    if columns % BLOCK:
        raise ExportError(f"int4 needs widths that are multiples of {BLOCK}, and there is one of {columns}: use int8")
    blocks = weight.reshape(rows, -1, BLOCK)
    place = np.abs(blocks).argmax(axis=2)[:, :, None]
    full = np.take_along_axis(blocks, place, axis=2) / -8
    full = np.where(full == 0, np.float32(1), full)
    scales, values, least = full, np.zeros_like(blocks), np.full_like(full, np.inf)
    for shrink in _SHRINK:
        scale = full * shrink
        rounded = np.clip(np.rint(blocks / scale), -8, 7)
        error = np.square(rounded * scale - blocks).sum(axis=2, keepdims=True)
        better = error < least
        scales, values = np.where(better, scale, scales), np.where(better, rounded, values)
        least = np.where(better, error, least)
    scales = np.where(blocks.any(axis=2, keepdims=True), scales, np.float32(1))
    nibbles = (values + 8).astype(np.uint8)
    pairs = nibbles[:, :, ::2] | nibbles[:, :, 1::2] << np.uint8(4)
    return Blocks(pairs.astype(np.uint8), scales[:, :, 0].astype(np.float32))
