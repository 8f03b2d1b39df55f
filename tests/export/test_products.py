"""One layer at a time, against the same arithmetic in numpy."""

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from generation.export.nodes import GraphWriter
from generation.export.products import Float32Products, Int8Products, Linear, Products
from generation.export.quantize import quantize_channels

RANDOM = np.random.default_rng(3)
TABLE = RANDOM.standard_normal((20, 32)).astype(np.float32)
LAYER = Linear("layer", RANDOM.standard_normal((32, 24)).astype(np.float32), np.arange(24, dtype=np.float32))
ROWS = RANDOM.standard_normal((5, 32)).astype(np.float32)


def run(
    products: type[Float32Products | Int8Products], layer: Linear, rows: NDArray[np.float32]
) -> NDArray[np.float32]:
    writer = GraphWriter()
    made: Products = products(writer, TABLE)
    writer.nodes("Identity", [made.linear(layer, "rows")], ["result"])
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["B", "S"]),
        helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", "K"]),
    ]
    model = writer.model("test", inputs, [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["N", "J"])])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {"input_ids": np.zeros((1, len(rows)), np.int64), "rows": rows}
    result: NDArray[np.float32] = session.run(["result"], feeds)[0]
    return result


def row_wise(layer: Linear, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the int8 product promises, with integers of any size."""
    scales = np.abs(rows).max(axis=1, keepdims=True) / 127
    channels = quantize_channels(layer.weight, axis=1)
    sums = np.rint(rows / scales).astype(np.int64) @ channels.values.astype(np.int64)
    return np.asarray(sums * scales * channels.scales + layer.bias, np.float64)


def test_fp32_is_the_plain_product() -> None:
    assert np.allclose(run(Float32Products, LAYER, ROWS), ROWS @ LAYER.weight + LAYER.bias, atol=1e-5)


def test_int8_is_the_row_wise_product() -> None:
    assert np.allclose(run(Int8Products, LAYER, ROWS), row_wise(LAYER, ROWS), atol=1e-4)


def test_int8_is_near_the_plain_product() -> None:
    difference = np.abs(run(Int8Products, LAYER, ROWS) - (ROWS @ LAYER.weight + LAYER.bias))

    assert difference.max() < 0.2


def test_int8_sums_do_not_saturate() -> None:
    # All of one sign and at full scale: pairs of products leave 16 bits at once.
    layer = Linear("layer", np.ones((32, 24), np.float32), np.zeros(24, np.float32))
    rows = np.ones((3, 32), np.float32)

    assert np.allclose(run(Int8Products, layer, rows), 32)


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_an_int8_row_does_not_depend_on_its_company(row: int) -> None:
    company = ROWS * np.array([1, 10, 100, 1000, 10000], np.float32)[:, None]

    together = run(Int8Products, LAYER, company)[row]
    alone = run(Int8Products, LAYER, company[row : row + 1])[0]
    assert np.array_equal(together, alone)


def test_an_int8_row_of_zeros_gives_the_bias() -> None:
    rows = ROWS.copy()
    rows[2] = 0

    assert np.array_equal(run(Int8Products, LAYER, rows)[2], LAYER.bias)
