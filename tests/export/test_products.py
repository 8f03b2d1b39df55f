"""One layer at a time, against the same arithmetic in numpy."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from generation.export.blocks import BlockHeadProducts, BlockProducts
from generation.export.nodes import GraphWriter
from generation.export.products import LOGIT_SCALES, Activation, Float32Products, Int8Products, Linear, Products
from generation.export.quantize import quantize_blocks, quantize_channels, round_blocks

# Two blocks of int4 weights.
WIDTH, BLOCK = 128, 64
RANDOM = np.random.default_rng(3)
TABLE = RANDOM.standard_normal((20, WIDTH)).astype(np.float32)
LAYER = Linear("layer", RANDOM.standard_normal((WIDTH, 24)).astype(np.float32), np.arange(24, dtype=np.float32))
# Wide enough for several blocks, inner and outer.
WIDE = Linear("wide", RANDOM.standard_normal((WIDTH, 200)).astype(np.float32), np.ones(200, np.float32))
ROWS = RANDOM.standard_normal((6, WIDTH)).astype(np.float32)
SCALE = 0.03

TORCH: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu_tanh": torch.nn.GELU(approximate="tanh"),
    "gelu": torch.nn.GELU(),
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
    "tanh": torch.tanh,
}

Maker = Callable[[GraphWriter, NDArray[np.float32]], Products]


def int4(writer: GraphWriter, table: NDArray[np.float32]) -> Products:
    return BlockProducts(writer, table, table, "gelu_tanh", bits=4, block=BLOCK, moments={})


def int8_blocks(writer: GraphWriter, table: NDArray[np.float32]) -> Products:
    return BlockProducts(writer, table, table, "gelu_tanh", bits=8, block=BLOCK, moments={})


def block_head(writer: GraphWriter, table: NDArray[np.float32]) -> Products:
    return BlockHeadProducts(writer, table, table, "gelu_tanh", block=BLOCK)


def int8(writer: GraphWriter, table: NDArray[np.float32]) -> Products:
    return Int8Products(writer, table, table, "gelu_tanh")


def constant(writer: GraphWriter, table: NDArray[np.float32]) -> Products:
    """Products of `int8` whose activations have the constant scale `SCALE`."""
    return Int8Products(writer, table, table, "gelu_tanh", scales=dict.fromkeys(("layer", "wide"), SCALE))


def fp32(writer: GraphWriter, table: NDArray[np.float32]) -> Products:
    return Float32Products(writer, table, table, "gelu_tanh")


def run(products: Maker, layer: Linear, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    writer = GraphWriter()
    made = products(writer, TABLE)
    writer.nodes("Identity", [made.linear(layer, "rows")], ["result"])
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", "K"]),
    ]
    model = writer.model("test", inputs, [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["N", "J"])])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {"input_ids": np.zeros(len(rows), np.int64), "rows": rows}
    result: NDArray[np.float32] = session.run(["result"], feeds)[0]
    return result


def row_wise(layer: Linear, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the int8 product promises, with integers of any size."""
    scales = np.abs(rows).max(axis=1, keepdims=True) / 127
    channels = quantize_channels(layer.weight, axis=1)
    sums = np.rint(rows / scales).astype(np.int64) @ channels.values.astype(np.int64)
    return np.asarray(sums * scales * channels.scales + layer.bias, np.float64)


def test_fp32_is_the_plain_product() -> None:
    assert np.allclose(run(fp32, LAYER, ROWS), ROWS @ LAYER.weight + LAYER.bias, atol=1e-5)


def test_int8_is_the_row_wise_product() -> None:
    assert np.allclose(run(int8, LAYER, ROWS), row_wise(LAYER, ROWS), atol=1e-4)


def test_int8_is_near_the_plain_product() -> None:
    difference = np.abs(run(int8, LAYER, ROWS) - (ROWS @ LAYER.weight + LAYER.bias))

    assert difference.max() < 0.4


def test_int8_with_a_constant_scale_is_the_scaled_product() -> None:
    values = np.rint(ROWS / SCALE)
    assert np.abs(values).max() < 127
    channels = quantize_channels(LAYER.weight, axis=1)

    expected = (values @ channels.values.astype(np.float64)) * SCALE * channels.scales + LAYER.bias
    assert np.allclose(run(constant, LAYER, ROWS), expected, atol=1e-4)


def test_int8_with_a_constant_scale_clips_what_is_larger() -> None:
    channels = quantize_channels(LAYER.weight, axis=1)
    rows = np.full((1, WIDTH), 1000 * SCALE, np.float32)

    expected = 127 * SCALE * channels.values.sum(axis=0, dtype=np.int64) * channels.scales + LAYER.bias
    assert np.allclose(run(constant, LAYER, rows)[0], expected, atol=1e-3)


def test_int8_with_a_constant_scale_activates_the_sum_with_the_bias() -> None:
    def activated(writer: GraphWriter, table: NDArray[np.float32]) -> Products:
        made = constant(writer, table)
        made.linear = made.activated  # type: ignore[method-assign]
        return made

    expected = TORCH["gelu_tanh"](torch.from_numpy(run(constant, LAYER, ROWS))).numpy()
    assert np.allclose(run(activated, LAYER, ROWS), expected, atol=1e-4)


@pytest.mark.parametrize(("products", "row"), [(int8, 1.0), (constant, 127 * SCALE)])
def test_int8_sums_do_not_saturate(products: Maker, row: float) -> None:
    # All of one sign and at full scale: pairs of products leave 16 bits at once.
    layer = Linear("layer", np.ones((WIDTH, 24), np.float32), np.zeros(24, np.float32))

    assert np.allclose(run(products, layer, np.full((3, WIDTH), row, np.float32)), WIDTH * row)


@pytest.mark.parametrize(("products", "alone"), [(int8, 1), (constant, 1), (int4, 2), (int8_blocks, 2)])
@pytest.mark.parametrize("row", range(len(ROWS)))
def test_a_row_does_not_depend_on_the_other_rows(products: Maker, alone: int, row: int) -> None:
    """With weights in blocks, there is at least one other row, whatever it holds."""
    scaled = ROWS * np.array([1, 10, 100, 1000, 10000, 1], np.float32)[:, None]
    few = np.zeros((alone, ROWS.shape[1]), np.float32)
    few[0] = scaled[row]

    assert np.array_equal(run(products, WIDE, scaled)[row], run(products, WIDE, few)[0])


def test_int4_is_the_product_with_blocks_scaled_back() -> None:
    blocks = quantize_blocks(LAYER.weight.T, BLOCK)
    low, high = blocks.values & 15, blocks.values >> 4
    nibbles = np.stack([low, high], axis=3).reshape(*blocks.scales.shape, BLOCK).astype(np.float32)
    weight = ((nibbles - 8) * blocks.scales[:, :, None]).reshape(24, WIDTH)

    # Activations are rounded to 8 bits.
    assert np.allclose(run(int4, LAYER, ROWS), ROWS @ weight.T + LAYER.bias, atol=0.4)


def test_int8_blocks_is_the_product_with_blocks_scaled_back() -> None:
    blocks = round_blocks(LAYER.weight.T, BLOCK)
    weight = ((blocks.values.astype(np.float32) - 128) * blocks.scales[:, :, None]).reshape(24, WIDTH)

    assert np.allclose(run(int8_blocks, LAYER, ROWS), ROWS @ weight.T + LAYER.bias, atol=0.4)


def test_int8_blocks_are_as_near_the_plain_product_as_int8() -> None:
    plain = ROWS @ LAYER.weight + LAYER.bias
    blocks, rows = (np.abs(run(products, LAYER, ROWS) - plain).mean() for products in (int8_blocks, int8))

    assert blocks < 1.1 * rows


def test_int8_blocks_do_not_saturate() -> None:
    layer = Linear("layer", np.ones((WIDTH, 24), np.float32), np.zeros(24, np.float32))
    rows = np.ones((4, WIDTH), np.float32)

    assert np.allclose(run(int8_blocks, layer, rows), WIDTH)
    assert np.allclose(run(int8_blocks, layer, -rows), -WIDTH)


def test_a_head_in_blocks_leaves_the_other_products_as_they_are() -> None:
    assert np.array_equal(run(block_head, LAYER, ROWS), run(int8, LAYER, ROWS))


@pytest.mark.parametrize(("products", "error"), [(int4, 0.15), (int8_blocks, 0.01), (block_head, 0.01)])
def test_blocks_look_up_what_they_multiply_with(products: Maker, error: float) -> None:
    writer = GraphWriter()
    made = products(writer, TABLE)
    writer.nodes("Identity", [made.embed("input_ids")], ["rows"])
    made.logits("one", "logits")
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("one", TensorProto.FLOAT, ["W", WIDTH]),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("rows", "logits")]
    session = onnxruntime.InferenceSession(
        writer.model("test", inputs, outputs).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    ids = np.arange(20)
    rows, logits = session.run(None, {"input_ids": ids, "one": np.eye(WIDTH, dtype=np.float32)})

    assert np.allclose(rows, logits.T, atol=1e-6)
    assert np.abs(rows - TABLE).mean() < error


def test_int8_logits_times_their_scales_are_products_with_the_table() -> None:
    writer = GraphWriter()
    int8(writer, TABLE).logits("rows", "logits")
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", WIDTH]),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("logits", LOGIT_SCALES)]
    session = onnxruntime.InferenceSession(
        writer.model("test", inputs, outputs).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    logits, scales = session.run(None, {"input_ids": np.zeros(len(ROWS), np.int64), "rows": ROWS})
    expected = row_wise(Linear("head", TABLE.T, np.zeros(len(TABLE), np.float32)), ROWS)

    assert logits.shape == (len(ROWS), len(TABLE))
    assert scales.shape == (len(ROWS), 1)
    assert np.allclose(logits * scales, expected, rtol=1e-5)


def test_an_int8_row_of_zeros_gives_the_bias() -> None:
    rows = ROWS.copy()
    rows[2] = 0

    assert np.array_equal(run(int8, LAYER, rows)[2], LAYER.bias)


@pytest.mark.parametrize("products", [Float32Products, Int8Products])
@pytest.mark.parametrize("activation", get_args(Activation))
def test_an_activation_is_the_one_of_torch_regardless_of_other_rows(
    products: type[Float32Products | Int8Products], activation: Activation
) -> None:
    class Activated:
        """`run` asks for the linear layer."""

        def __init__(self, writer: GraphWriter, table: NDArray[np.float32]) -> None:
            self.linear = products(writer, table, table, activation).activated

    plain = run(lambda writer, table: products(writer, table, table, activation), WIDE, ROWS)
    found = run(Activated, WIDE, ROWS)  # type: ignore[arg-type]

    assert np.allclose(found, TORCH[activation](torch.from_numpy(plain)).numpy(), atol=1e-5)
    for row in range(len(ROWS)):
        alone = run(Activated, WIDE, ROWS[row : row + 1])  # type: ignore[arg-type]
        assert np.allclose(found[row], alone[0], rtol=0, atol=1e-4 if products is Float32Products else 0)
