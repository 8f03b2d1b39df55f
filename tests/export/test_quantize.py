import numpy as np
import pytest

from generation.export.quantize import quantize_channels

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
