"""Write products of hidden states and weights into the graph, in float32 or in int8.

In int8, the activations of a product have either one constant scale (see activation_scales.py) or a scale for every
row, so that the result of a row does not depend on the other rows of the batch. Weights have one scale per output
channel. Sums are integers, so their order does not matter.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from generation.export.nodes import MICROSOFT, GraphWriter
from generation.export.quantize import LARGEST, quantize_channels

EMBEDDING = "transformer.wte.weight"
# Name of the language model head. A head that equals the embedding table still has a separate name: onnxruntime
# converts the weights of a product to another layout and drops the original, but not if the original is also used for
# look-ups. In the weights file (see external.py) both are the same bytes.
HEAD = "lm_head"
# In int8 the scales of the logits are a separate output: see `Int8Products.logits`.
LOGIT_SCALES = "logit_scales"


Activation = Literal["gelu_tanh", "gelu", "relu", "silu", "tanh"]
# The operator of each activation; then the operators that add a bias first.
OPERATORS: dict[Activation, tuple[str, str, dict[str, float]]] = {
    "gelu_tanh": ("FastGelu", MICROSOFT, {}),
    "gelu": ("Gelu", MICROSOFT, {}),
    "relu": ("Relu", "", {}),
    "silu": ("QuickGelu", MICROSOFT, {"alpha": 1.0}),
    "tanh": ("Tanh", "", {}),
}
WITH_BIAS: dict[Activation, str] = {"gelu_tanh": "FastGelu", "gelu": "BiasGelu"}


def activate(writer: GraphWriter, activation: Activation, value: str) -> str:
    """Write an activation; return the name of its result."""
    kind, domain, attributes = OPERATORS[activation]
    return writer.node(kind, [value], domain=domain, **attributes)


@dataclass(frozen=True, slots=True)
class Linear:
    """A layer's weight, [K, J], its bias, [J], and the prefix of its tensors' names in the graph."""

    name: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


class Products(Protocol):
    """Writes products with weights. Arguments and results are names of tensors; hidden states are [rows, width]."""

    def embed(self, ids: str) -> str:
        """Look up the rows of the embedding table for `ids`, [N]."""

    def linear(self, layer: Linear, value: str) -> str:
        """Return value times weight, plus bias."""

    def activated(self, layer: Linear, value: str) -> str:
        """Return the activation of the linear layer's result."""

    def residual(self, layer: Linear, value: str, hidden: str) -> str:
        """Return `hidden` plus the linear layer's result."""

    def keep(self, positions: str, *values: str) -> list[str]:
        """Select the rows at `positions`; only selected values may be passed to later calls."""

    def logits(self, value: str, output: str) -> None:
        """Write the logits to the tensor `output`; in int8 without their scales, which go to `LOGIT_SCALES`."""


class WholeProducts(ABC):
    """The methods around a linear layer that is a single operator, which includes the bias."""

    def __init__(self, writer: GraphWriter, activation: Activation) -> None:
        self._writer = writer
        self._activation = activation

    @abstractmethod
    def linear(self, layer: Linear, value: str) -> str:
        """Return value times weight, plus bias."""

    def activated(self, layer: Linear, value: str) -> str:
        """Write the layer, then the activation."""
        return activate(self._writer, self._activation, self.linear(layer, value))

    def residual(self, layer: Linear, value: str, hidden: str) -> str:
        """Write the layer, then the addition."""
        return self._writer.node("Add", [hidden, self.linear(layer, value)])

    def keep(self, positions: str, *values: str) -> list[str]:
        """Write a Gather for each value."""
        return [self._writer.node("Gather", [value, positions]) for value in values]


class Float32Products(WholeProducts):
    """Products with float32 weights."""

    def __init__(
        self, writer: GraphWriter, table: NDArray[np.float32], head: NDArray[np.float32], activation: Activation
    ) -> None:
        super().__init__(writer, activation)
        self._table = writer.constant(EMBEDDING, table)
        self._head = writer.constant(f"{HEAD}.weight", head)

    def embed(self, ids: str) -> str:
        """Write a Gather."""
        return self._writer.node("Gather", [self._table, ids])

    def linear(self, layer: Linear, value: str) -> str:
        """Write a Gemm."""
        weight = self._writer.constant(f"{layer.name}.weight", layer.weight)
        return self._writer.node("Gemm", [value, weight, self._writer.constant(f"{layer.name}.bias", layer.bias)])

    def logits(self, value: str, output: str) -> None:
        """Write a Gemm with the transposed head."""
        self._writer.nodes("Gemm", [value, self._head], [output], transB=1)


class Int8Products:
    """Products of signed 8-bit weights and unsigned 8-bit activations with zero point 128.

    Activations are unsigned because x86 has instructions for u8 x s8; products of two signed tensors are many times
    slower. `scales` has the constant scale of the activations of some layers; other activations have a scale per row.
    """

    def __init__(
        self,
        writer: GraphWriter,
        table: NDArray[np.float32],
        head: NDArray[np.float32],
        activation: Activation,
        *,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        self._writer = writer
        self._activation = activation
        self._scales = scales or {}
        self._step = writer.constant("int8.step", np.array(1 / LARGEST, np.float32))
        self._one = writer.constant("int8.one", np.array(1, np.float32))
        self._middle = writer.constant("int8.middle", np.array(128, np.uint8))
        self._axis = writer.constant("int8.axis", np.array([1], np.int64))
        self._width = table.shape[1]
        self._store(table, head)
        # A zero point per row, [N, 1].
        rows = writer.node("Concat", [writer.node("Shape", ["input_ids"]), self._axis], axis=0)
        middle = helper.make_tensor("middle", TensorProto.UINT8, [1], [128])
        self._middles = writer.node("ConstantOfShape", [rows], value=middle)

    def _store(self, table: NDArray[np.float32], head: NDArray[np.float32]) -> None:
        """Write the embedding table and the head, which may be the same."""
        writer = self._writer
        channels = quantize_channels(table, axis=0)
        self._table = writer.constant(EMBEDDING, channels.values)
        self._table_scales = self._head_scales = writer.constant(f"{EMBEDDING}.scale", channels.scales)
        if head is not table:
            channels = quantize_channels(head, axis=0)
            self._head_scales = writer.constant(f"{HEAD}.scale", channels.scales)
        self._head = writer.constant(f"{HEAD}.weight", channels.values)
        # QGemm requires a zero point per channel if there is a scale per channel.
        self._head_zeros = writer.constant(f"{EMBEDDING}.zero", np.zeros(len(head), np.int8))

    def embed(self, ids: str) -> str:
        """Look up rows of the embedding table, and dequantize them."""
        values = self._writer.node("Gather", [self._table, ids])
        scales = self._writer.node("Gather", [self._table_scales, ids])
        return self._writer.node("DequantizeLinear", [values, scales], axis=0)

    def linear(self, layer: Linear, value: str) -> str:
        """Add the bias to the scaled product."""
        if layer.name in self._scales:
            return self._product(layer, value, self._bias(layer))
        return self._writer.node("Add", [self._product(layer, value), self._bias(layer)])

    def activated(self, layer: Linear, value: str) -> str:
        """Write the product, then the activation, which includes the bias if its operator takes one."""
        if self._activation in WITH_BIAS:
            inputs = [self._product(layer, value), self._bias(layer)]
            return self._writer.node(WITH_BIAS[self._activation], inputs, domain=MICROSOFT)
        return activate(self._writer, self._activation, self.linear(layer, value))

    def residual(self, layer: Linear, value: str, hidden: str) -> str:
        """Write one sum of the hidden state, the product and the bias."""
        return self._writer.node("Sum", [hidden, self._product(layer, value), self._bias(layer)])

    def keep(self, positions: str, *values: str) -> list[str]:
        """Write a Gather for each value, and one for the zero points."""
        self._middles = self._writer.node("Gather", [self._middles, positions])
        return [self._writer.node("Gather", [value, positions]) for value in values]

    def logits(self, value: str, output: str) -> None:
        """Write the product with the transposed head, without the scales of the rows, [W, 1].

        The caller multiplies the logits by the scales, in place. In the graph this would take megabytes for a second
        copy of the logits.
        """
        rows, scales = self._quantized(value, self._width)
        inputs = [rows, self._one, self._middle, self._head, self._head_scales, self._head_zeros]
        self._writer.nodes("QGemm", inputs, [output], domain=MICROSOFT, transB=1)
        self._writer.nodes("Identity", [scales], [LOGIT_SCALES])

    def _product(self, layer: Linear, value: str, bias: str = "") -> str:
        """Write the scaled product; add `bias`, which only a product with a constant scale takes."""
        channels = quantize_channels(layer.weight, axis=1)
        weight = self._writer.constant(f"{layer.name}.weight", channels.values)
        weight_scales = self._writer.constant(f"{layer.name}.weight.scale", channels.scales)
        # No zero point for the weight: a shared one breaks onnxruntime's conversion for CPUs without VNNI.
        if layer.name in self._scales:
            scale = self._writer.constant(f"{layer.name}.scale", np.array(self._scales[layer.name], np.float32))
            rows = self._writer.node("QuantizeLinear", [value, scale, self._middle])
            inputs = [rows, weight, scale, weight_scales, self._middle, *(["", bias] if bias else [])]
            return self._writer.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT)
        rows, scales = self._quantized(value, len(layer.weight))
        inputs = [rows, weight, self._one, weight_scales, self._middle]
        product = self._writer.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT)
        return self._writer.node("Mul", [product, scales])

    def _quantized(self, value: str, width: int) -> tuple[str, str]:
        """Quantize a hidden state; the largest magnitude of each row becomes 128 plus or minus 127.

        A row of zeros has the scale 0. Its quantized values are undefined, and are multiplied by 0 afterwards.

        Returns:
            The names of the values, uint8 [rows, width], and of the scales, float32 [rows, 1].
        """
        largest = self._writer.node("ReduceMax", [self._writer.node("Abs", [value]), self._axis], keepdims=1)
        scales = self._writer.node("Mul", [largest, self._step])
        inputs = [value, scales, self._middles]
        return self._writer.node("QuantizeLinear", inputs, axis=1, block_size=width), scales

    def _bias(self, layer: Linear) -> str:
        return self._writer.constant(f"{layer.name}.bias", layer.bias)
