from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from generation.export.external import PAGE, save
from generation.export.nodes import GraphWriter

LARGE = np.arange(50 * 70, dtype=np.float32).reshape(50, 70)
BYTES = np.arange(5001, dtype=np.uint8)
SMALL = np.array([1, 2], np.int64)


def _graph() -> onnx.ModelProto:
    writer = GraphWriter()
    writer.nodes("Gather", [writer.constant("bytes", BYTES), "ids"], ["picked"])
    writer.nodes("Gather", [writer.constant("large", LARGE), writer.constant("small", SMALL)], ["rows"])
    outputs = [
        helper.make_tensor_value_info("picked", TensorProto.UINT8, None),
        helper.make_tensor_value_info("rows", TensorProto.FLOAT, None),
    ]
    return writer.model("test", [helper.make_tensor_value_info("ids", TensorProto.INT64, ["N"])], outputs)


def test_the_runtime_finds_the_weights_beside_the_graph(tmp_path: Path) -> None:
    save(_graph(), tmp_path / "a.onnx", tmp_path / "a.data", "bytes")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    picked, rows = session.run(None, {"ids": np.array([5000, 3])})
    np.testing.assert_array_equal(picked, BYTES[[5000, 3]])
    np.testing.assert_array_equal(rows, LARGE[SMALL])


def test_large_tensors_begin_at_a_page_and_small_ones_stay(tmp_path: Path) -> None:
    save(_graph(), tmp_path / "a.onnx", tmp_path / "a.data", "bytes")
    found = {one.name: one for one in onnx.load(tmp_path / "a.onnx", load_external_data=False).graph.initializer}
    np.testing.assert_array_equal(numpy_helper.to_array(found["small"]), SMALL)
    places = {name: {entry.key: entry.value for entry in found[name].external_data} for name in ("bytes", "large")}
    assert places == {
        "bytes": {"location": "a.data", "offset": "0", "length": "5001"},
        "large": {"location": "a.data", "offset": str(2 * PAGE), "length": str(LARGE.nbytes)},
    }
    assert (tmp_path / "a.data").stat().st_size == 2 * PAGE + LARGE.nbytes


@pytest.mark.parametrize("first", ["large", "small"])
def test_the_file_begins_with_what_is_asked_for(tmp_path: Path, first: str) -> None:
    raw = {"large": LARGE.tobytes(), "small": SMALL.tobytes()}
    save(_graph(), tmp_path / "a.onnx", tmp_path / "a.data", first)
    assert (tmp_path / "a.data").read_bytes().startswith(raw[first])
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(["rows"], {"ids": np.array([0])})[0], LARGE[SMALL])


def test_equal_tensors_share_a_place(tmp_path: Path) -> None:
    writer = GraphWriter()
    for name, values in (("one", LARGE), ("other", LARGE.copy()), ("third", LARGE + 1)):
        writer.nodes("Gather", [writer.constant(name, values), "ids"], [f"{name} rows"])
    outputs = [helper.make_tensor_value_info(f"{n} rows", TensorProto.FLOAT, None) for n in ("one", "other", "third")]
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["N"])]
    save(writer.model("test", inputs, outputs), tmp_path / "a.onnx", tmp_path / "a.data", "one")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    one, other, third = session.run(None, {"ids": np.array([7])})
    np.testing.assert_array_equal(one, LARGE[[7]])
    np.testing.assert_array_equal(other, one)
    np.testing.assert_array_equal(third, one + 1)
    assert (tmp_path / "a.data").stat().st_size < 3 * LARGE.nbytes
