"""Weights in 8 bits: symmetric, one scale per output channel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST = 127


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
