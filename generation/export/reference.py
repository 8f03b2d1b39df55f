"""Export the portable reference with `optimum`: a graph of standard ONNX operators with a growing cache.

The serving graph takes its parameters from this file by name, and uses nothing else in it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper
from optimum.exporters.onnx import onnx_export_from_model
from transformers import GPT2LMHeadModel

from generation.export.graph import Shape
from generation.export.tokens import quiet

TASK = "text-generation-with-past"
PARAMETER_PREFIX = "transformer."
# Tokens of the step that the exporter traces, and tokens before it. Any number gives the same graph.
TRACED = 16


def export_reference(model: GPT2LMHeadModel, folder: Path) -> Path:
    """Export the checkpoint to `folder`; return the path of the graph."""
    # The exporter copies tokenizers from this folder, and asks the hub about a folder that does not exist.
    model.config._name_or_path = str(folder)  # noqa: SLF001
    with quiet():
        traced = min(TRACED, model.config.n_positions // 2)
        onnx_export_from_model(model, folder, task=TASK, do_validation=False, sequence_length=traced)
    return folder / "model.onnx"


def read_parameters(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the parameters of an exported graph by checkpoint name, such as ``transformer.h.0.ln_1.bias``.

    The exporter stores equal tensors once, and names the others with Identity nodes.
    """
    graph = onnx.load(path).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
    return {
        name: array.astype(np.float32, copy=False)
        for name, array in arrays.items()
        if name.startswith(PARAMETER_PREFIX)
    }


def reference_logits(path: Path, shape: Shape, ids: list[int]) -> NDArray[np.float32]:
    """Return the reference's logits, [len(ids), V], for one sequence and an empty cache."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    length = len(ids)
    feeds: dict[str, NDArray[Any]] = {
        "input_ids": np.array([ids], np.int64),
        "attention_mask": np.ones((1, length), np.int64),
        "position_ids": np.arange(length, dtype=np.int64)[None],
    }
    empty = np.zeros((1, shape.heads, 0, shape.head_size), np.float32)
    for layer in range(shape.layers):
        feeds |= {f"past_key_values.{layer}.{part}": empty for part in ("key", "value")}
    logits: NDArray[np.float32] = session.run(["logits"], feeds)[0][0]
    return logits
