import numpy as np
import pytest
from numpy.typing import NDArray

from generation.export.errors import ExportError
from generation.export.quantize import Blocks, block_size, quantize_blocks, quantize_channels

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


def scaled_back(blocks: Blocks) -> NDArray[np.float32]:
    nibbles = np.stack([blocks.values & 15, blocks.values >> 4], axis=3).reshape(*blocks.scales.shape, -1)
    return ((nibbles.astype(np.float32) - 8) * blocks.scales[:, :, None]).reshape(len(blocks.values), -1)


def test_nibbles_are_within_half_a_step_but_for_the_far_side() -> None:
    weight = np.random.default_rng(2).standard_normal((6, 64)).astype(np.float32)
    blocks = quantize_blocks(weight, 32)
    error = np.abs(scaled_back(blocks) - weight)

    assert blocks.values.shape == (6, 2, 16)
    assert np.median(error) < np.abs(blocks.scales).max() / 4
    # Plain rounding to the largest magnitude is what a search must not fall behind.
    plain = np.abs(weight.reshape(6, 2, 32)).max(axis=2, keepdims=True) / 7
    rounded = np.clip(np.rint(weight.reshape(6, 2, 32) / plain), -8, 7) * plain
    assert np.square(error).sum() < np.square(rounded.reshape(6, 64) - weight).sum()


def test_without_moments_every_weight_is_rounded_for_itself() -> None:
    weight = np.random.default_rng(2).standard_normal((6, 128)).astype(np.float32)
    changed = weight.copy()
    changed[:, 0] *= 0.5

    # The largest of the block is another one, so its scale stays.
    assert np.abs(weight[:, 0]).max() < np.abs(weight[:, 1:]).max(axis=1).min()
    assert np.array_equal(quantize_blocks(weight, 64).scales[:, 1], quantize_blocks(changed, 64).scales[:, 1])
    assert np.array_equal(quantize_blocks(weight, 64).values[:, 1], quantize_blocks(changed, 64).values[:, 1])


def test_moments_make_up_for_the_errors_of_correlated_inputs() -> None:
    random = np.random.default_rng(4)
    weight = random.standard_normal((8, 128)).astype(np.float32)
    # 128 inputs that are mixtures of 40 causes.
    rows = (random.standard_normal((500, 40)) @ random.standard_normal((40, 128))).astype(np.float32)
    plain, better = quantize_blocks(weight, 64), quantize_blocks(weight, 64, rows.T @ rows)

    errors = [np.square(rows @ (scaled_back(blocks) - weight).T).sum() for blocks in (plain, better)]
    assert errors[1] < errors[0] / 4


def test_inputs_that_never_occur_do_no_harm() -> None:
    weight = np.random.default_rng(5).standard_normal((4, 64)).astype(np.float32)
    rows = np.random.default_rng(6).standard_normal((100, 64)).astype(np.float32)
    rows[:, 10:20] = 0

    error = np.abs(scaled_back(quantize_blocks(weight, 64, rows.T @ rows)) - weight)
    assert error[:, 10:20].max() < 0.5


def test_a_layer_that_takes_nothing_but_zeros_is_rounded_plainly() -> None:
    weight = np.random.default_rng(5).standard_normal((4, 64)).astype(np.float32)
    plain, found = quantize_blocks(weight, 64), quantize_blocks(weight, 64, np.zeros((64, 64), np.float32))

    assert np.array_equal(found.values, plain.values)


def test_a_block_of_zeros_stays_zero() -> None:
    blocks = quantize_blocks(np.zeros((1, 32), np.float32), 32)

    assert (blocks.values == 0x88).all()
    assert (blocks.scales == 1).all()


@pytest.mark.parametrize(("widths", "size"), [((768, 3072), 128), ((192, 768), 64), ((96, 384), 32)])
def test_blocks_are_as_large_as_the_widths_allow(widths: tuple[int, int], size: int) -> None:
    assert block_size(*widths) == size


def test_a_width_that_is_no_multiple_of_the_smallest_block_is_refused() -> None:
    with pytest.raises(ExportError, match="multiples of 32, and there is one of 48: use int8"):
        block_size(96, 48)
