import numpy as np
import pytest

from generation.export.errors import ExportError
from generation.export.quantize import quantize_blocks, quantize_channels

WEIGHT = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)


@pytest.mark.parametrize("axis", [0, 1])
def test_every_value_is_within_half_a_step(axis: int) -> None:
    channels = quantize_channels(WEIGHT, axis)
    scales = np.expand_dims(channels.scales, 1 - axis)

    assert channels.scales.shape == (WEIGHT.shape[axis],)
    assert np.abs(channels.values * scales - WEIGHT).max() <= channels.scales.max() / 2 * 1.0001


@pytest.mark.parametrize("axis", [0, 1])
def test_the_largest_of_each_channel_is_at_the_end_of_the_range(axis: int) -> None:
    channels = quantize_channels(WEIGHT, axis)

    assert (np.abs(channels.values).max(axis=1 - axis) == 127).all()


def test_a_large_channel_does_not_coarsen_the_others() -> None:
    weight = WEIGHT.copy()
    weight[:, 0] *= 1000

    assert np.array_equal(
        quantize_channels(weight, axis=1).values[:, 1:], quantize_channels(WEIGHT, axis=1).values[:, 1:]
    )


def test_a_channel_of_zeros_stays_zero() -> None:
    weight = WEIGHT.copy()
    weight[:, 2] = 0
    channels = quantize_channels(weight, axis=1)

    assert (channels.values[:, 2] == 0).all()
    assert np.isfinite(channels.scales).all()


def test_nibbles_are_within_half_a_step_but_for_the_far_side() -> None:
    weight = np.random.default_rng(2).standard_normal((6, 64)).astype(np.float32)
    blocks = quantize_blocks(weight)
    nibbles = np.stack([blocks.values & 15, blocks.values >> 4], axis=3).reshape(6, 2, 32)
    scaled = (nibbles.astype(np.float32) - 8) * blocks.scales[:, :, None]
    error = np.abs(scaled.reshape(6, 64) - weight)

    assert blocks.values.shape == (6, 2, 16)
    assert np.median(error) < np.abs(blocks.scales).max() / 4
    # Plain rounding to the largest magnitude is what a search must not fall behind.
    plain = np.abs(weight.reshape(6, 2, 32)).max(axis=2, keepdims=True) / 7
    rounded = np.clip(np.rint(weight.reshape(6, 2, 32) / plain), -8, 7) * plain
    assert np.square(error).sum() < np.square(rounded.reshape(6, 64) - weight).sum()


def test_a_block_of_zeros_stays_zero() -> None:
    blocks = quantize_blocks(np.zeros((1, 32), np.float32))

    assert (blocks.values == 0x88).all()
    assert (blocks.scales == 1).all()


def test_a_width_that_is_no_multiple_of_the_block_is_refused() -> None:
    with pytest.raises(ExportError, match="multiples of 32, and there is one of 48: use int8"):
        quantize_blocks(np.zeros((2, 48), np.float32))
