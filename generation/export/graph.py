"""Write the serving graph: the parameters of a GPT-2 checkpoint in an ONNX graph designed for decoding.

A step takes N tokens in any order and updates two KV caches of M positions in place: the staging cache, in which
prompts are prefilled, and the batch cache, in which sequences decode (see attention.py). Everything but attention works
on hidden states of shape [N, E], so that row-wise quantization means one scale per token.

Symbols in shapes: H heads of D elements, hidden width E = H * D, vocabulary V, W positions whose logits are computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from generation.export.attention import Attention
from generation.export.blocks import BlockHeadProducts, BlockProducts
from generation.export.defaults import CacheType, Precision
from generation.export.errors import ExportError
from generation.export.moments import Moments
from generation.export.nodes import GraphWriter
from generation.export.products import (
    EMBEDDING,
    HEAD,
    LOGIT_SCALES,
    Activation,
    Float32Products,
    Int8Products,
    Linear,
    Products,
)
from generation.export.quantize import BLOCKS_OF_BYTES, block_size

Parameters = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Shape:
    """The properties of a GPT-2 checkpoint that its parameters alone do not show. Sizes are in elements and tokens."""

    layers: int
    heads: int
    head_size: int
    inner: int
    vocabulary: int
    context: int
    epsilon: float = 1e-5
    activation: Activation = "gelu_tanh"
    scale_by_head_size: bool = True
    scale_by_layer: bool = False

    @property
    def width(self) -> int:
        """The number of elements of a hidden state."""
        return self.heads * self.head_size

    def attention_scale(self, layer: int) -> float:
        """Return a layer's factor on query-key products: `scale_attn_weights`, `scale_attn_by_inverse_layer_idx`."""
        scale = self.head_size**-0.5 if self.scale_by_head_size else 1.0
        return scale / (layer + 1) if self.scale_by_layer else scale


def build(
    parameters: Parameters,
    shape: Shape,
    precision: Precision,
    cache: CacheType,
    *,
    moments: Moments | None = None,
    scales: Mapping[str, float] | None = None,
) -> onnx.ModelProto:
    """Return the serving graph.

    Inputs of the graph:

    - ``input_ids`` and ``position_ids``, int64 [N]
    - ``logit_positions``, int64 [W]: indices of the tokens whose logits are computed
    - the inputs of `Attention`

    Outputs of the graph:

    - ``logits``, float32 [W, V]. In int8 the caller must multiply them by the output ``logit_scales``, float32 [W, 1].
    - the caches, which the caller must bind to the same buffers as the ``past`` inputs

    In int4 and int8-blocks, W must be even, and in int4 N as well. With an int8 cache, the parameters must be those
    that `cache_range.fold` returns. A language model head that is not the embedding table is the parameter
    ``lm_head.weight``. `moments` reduce the rounding errors of int4 weights. `scales` are constant scales of the
    activations of some products in int8 and int8-blocks, with the parameters that `activation_scales.smooth` returns.

    Raises:
        ExportError: a parameter is missing or has the wrong shape, or the precision does not support the sizes.

    """
    writer = GraphWriter()
    source = _Source(parameters)
    table = head = source.array(EMBEDDING, shape.vocabulary, shape.width)
    if f"{HEAD}.weight" in parameters:
        head = source.array(f"{HEAD}.weight", shape.vocabulary, shape.width)
    attention = Attention(writer, shape.heads, shape.head_size, shape.context, cache)
    products = _products(writer, table, head, shape=shape, precision=precision, moments=moments, scales=scales)
    _Assembly(writer, products, attention, source, shape).write()
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("position_ids", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("logit_positions", TensorProto.INT64, ["W"]),
        *attention.inputs(shape.layers),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["W", shape.vocabulary])]
    if precision == "int8":
        outputs.append(helper.make_tensor_value_info(LOGIT_SCALES, TensorProto.FLOAT, ["W", 1]))
    return writer.model("gpt2-serving", inputs, [*outputs, *attention.outputs(shape.layers)])


def _products(
    writer: GraphWriter,
    table: NDArray[np.float32],
    head: NDArray[np.float32],
    *,
    shape: Shape,
    precision: Precision,
    moments: Moments | None,
    scales: Mapping[str, float] | None,
) -> Products:
    if precision == "fp32":
        return Float32Products(writer, table, head, shape.activation)
    if precision == "int8":
        return Int8Products(writer, table, head, shape.activation, scales=scales)
    if precision == "int8-blocks":
        block = block_size(shape.width, sizes=BLOCKS_OF_BYTES)
        return BlockHeadProducts(writer, table, head, shape.activation, block=block, scales=scales)
    block = block_size(shape.width, shape.inner)
    return BlockProducts(writer, table, head, shape.activation, bits=4, block=block, moments=moments or {})


class _Source:
    """The checkpoint's parameters; checks the shape of each on access."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def array(self, name: str, *sizes: int) -> NDArray[np.float32]:
        array = self._parameters.get(name)
        if array is None:
            raise ExportError(f"the checkpoint has no parameter {name}")
        if array.shape != sizes:
            raise ExportError(f"parameter {name} has shape {list(array.shape)}, wanted {list(sizes)}")
        return array

    def linear(self, name: str, rows: int, columns: int) -> Linear:
        return Linear(name, self.array(f"{name}.weight", rows, columns), self.array(f"{name}.bias", columns))


class _Assembly:
    """Writes the nodes of the network, layer by layer. Strings are names of tensors in the graph."""

    def __init__(
        self, writer: GraphWriter, products: Products, attention: Attention, source: _Source, shape: Shape
    ) -> None:
        self.writer, self.products, self.attention, self.source, self.shape = writer, products, attention, source, shape

    def write(self) -> None:
        width, inner = self.shape.width, self.shape.inner
        hidden = self._embedded()
        for layer in range(self.shape.layers):
            block = f"transformer.h.{layer}"
            packed = self.products.linear(
                self.source.linear(f"{block}.attn.c_attn", width, 3 * width), self._norm(f"{block}.ln_1", hidden)
            )
            attended = self.attention.write(layer, packed, self.shape.attention_scale(layer))
            if layer == self.shape.layers - 1:
                # The rest of the network has no interaction between positions, so only the wanted ones are computed.
                attended, hidden = self.products.keep("logit_positions", attended, hidden)
            hidden = self.products.residual(self.source.linear(f"{block}.attn.c_proj", width, width), attended, hidden)
            normed = self._norm(f"{block}.ln_2", hidden)
            active = self.products.activated(self.source.linear(f"{block}.mlp.c_fc", width, inner), normed)
            hidden = self.products.residual(self.source.linear(f"{block}.mlp.c_proj", inner, width), active, hidden)
        self.products.logits(self._norm("transformer.ln_f", hidden), "logits")

    def _embedded(self) -> str:
        name = "transformer.wpe.weight"
        places = self.writer.constant(name, self.source.array(name, self.shape.context, self.shape.width))
        positions = self.writer.node("Gather", [places, "position_ids"])
        return self.writer.node("Add", [self.products.embed("input_ids"), positions])

    def _norm(self, name: str, value: str) -> str:
        # An addition and a LayerNormalization are several times faster on a CPU than one SkipLayerNormalization.
        parts = [f"{name}.weight", f"{name}.bias"]
        inputs = [value, *(self.writer.constant(part, self.source.array(part, self.shape.width)) for part in parts)]
        return self.writer.node("LayerNormalization", inputs, epsilon=self.shape.epsilon)
