"""Build a graph with `onnx.helper`: collect nodes and constants, and create unique names."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

MICROSOFT = "com.microsoft"
OPSET = 21
IR_VERSION = 10


class GraphWriter:
    """Collects nodes in order. Tensors are identified by name, and every method that adds one returns its name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._count = 0

    def fresh(self, stem: str) -> str:
        """Return a tensor name that is not in use."""
        self._count += 1
        return f"{stem}.{self._count}"

    def node(self, kind: str, inputs: Sequence[str], *, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        return self.nodes(kind, inputs, [self.fresh(kind)], domain=domain, **attributes)[0]

    def nodes(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], *, domain: str = "", **attributes: Any
    ) -> Sequence[str]:
        """Add a node with the given names of outputs, "" for an unused one; return the names."""
        name = f"{kind}/{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add a constant; a second call with the same name returns the first constant."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def model(
        self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """Return the finished model."""
        graph = helper.make_graph(self._nodes, name, inputs, outputs, list(self._constants.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="distilgpt2-functions"
        )
