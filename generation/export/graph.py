"""Write the serving graph of a GPT-2 checkpoint: its parameters, by checkpoint name, in a graph made for decoding.

The graph takes B rows of S new tokens over a KV cache of M positions that it reads and writes in place. Symbols: H
heads of D elements, E = H * D hidden width, V vocabulary, N = B * S tokens of this step, W positions whose logits are
wanted.
Everything but attention works on flat [N, E] hidden states, so that row-wise quantization is one scale per token.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from generation.export.defaults import Precision
from generation.export.errors import ExportError
from generation.export.nodes import MICROSOFT, GraphWriter
from generation.export.products import Float32Products, Int8Products, Linear, Products

Parameters = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything about a GPT-2 checkpoint that its parameters alone do not say. Sizes in elements and tokens."""

    layers: int
    heads: int
    head_size: int
    inner: int
    vocabulary: int
    context: int
    epsilon: float = 1e-5
    scale_by_head_size: bool = True
    scale_by_layer: bool = False

    @property
    def width(self) -> int:
        """Elements of a hidden state."""
        return self.heads * self.head_size

    def attention_scale(self, layer: int) -> float:
        """Factor on query-key products (`scale_attn_weights`, `scale_attn_by_inverse_layer_idx` of the checkpoint)."""
        scale = self.head_size**-0.5 if self.scale_by_head_size else 1.0
        return scale / (layer + 1) if self.scale_by_layer else scale


def build(parameters: Parameters, shape: Shape, precision: Precision) -> onnx.ModelProto:
    """Return the serving graph.

    Inputs: ``input_ids``, ``position_ids`` int64 [B, S]; ``seqlens_k`` int32 [B], the valid cache length of each row
    after this step, minus 1; ``total_sequence_length`` int32 scalar, the largest valid length after this step;
    ``logit_positions`` int64 [W], row-major places in [B, S]; ``past_key_values.{i}.key``, ``.value`` float32
    [B, H, M, D]. Outputs: ``logits`` float32 [W, V]; ``present.{i}.key``, ``.value``, to be bound to the buffers of
    their pasts.

    Raises:
        ExportError: a parameter is missing or has the wrong shape.

    """
    writer = GraphWriter()
    source = _Source(parameters)
    table = source.array("transformer.wte.weight", shape.vocabulary, shape.width)
    products: Products = Float32Products(writer, table) if precision == "fp32" else Int8Products(writer, table)
    _Assembly(writer, products, source, shape).write()
    return writer.model("gpt2-serving", _inputs(shape), _outputs(shape))


class _Source:
    """The checkpoint's parameters, each checked as it is taken."""

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
    """One pass through the network, writing nodes as it goes. Strings are names of tensors in the graph."""

    def __init__(self, writer: GraphWriter, products: Products, source: _Source, shape: Shape) -> None:
        self.writer, self.products, self.source, self.shape = writer, products, source, shape
        self.flat = writer.constant("shape.flat", np.array([-1], np.int64))
        self.hidden = writer.constant("shape.hidden", np.array([-1, shape.width], np.int64))
        packed = writer.constant("shape.packed", np.array([3 * shape.width], np.int64))
        self.packed = writer.node("Concat", [writer.node("Shape", ["input_ids"]), packed], axis=0)

    def write(self) -> None:
        width, inner = self.shape.width, self.shape.inner
        hidden = self._embedded()
        for layer in range(self.shape.layers):
            block = f"transformer.h.{layer}"
            attended = self._attention(layer, self._norm(f"{block}.ln_1", hidden))
            if layer == self.shape.layers - 1:
                # From here on each position goes its own way, so only the wanted ones go on.
                attended, hidden = self.products.keep("logit_positions", attended, hidden)
            hidden = self.products.residual(self.source.linear(f"{block}.attn.c_proj", width, width), attended, hidden)
            normed = self._norm(f"{block}.ln_2", hidden)
            active = self.products.gelu(self.source.linear(f"{block}.mlp.c_fc", width, inner), normed)
            hidden = self.products.residual(self.source.linear(f"{block}.mlp.c_proj", inner, width), active, hidden)
        self.products.logits(self._norm("transformer.ln_f", hidden), "logits")

    def _embedded(self) -> str:
        name = "transformer.wpe.weight"
        places = self.writer.constant(name, self.source.array(name, self.shape.context, self.shape.width))
        ids = self.writer.node("Reshape", ["input_ids", self.flat])
        positions = self.writer.node("Reshape", ["position_ids", self.flat])
        return self.writer.node("Add", [self.products.embed(ids), self.writer.node("Gather", [places, positions])])

    def _attention(self, layer: int, normed: str) -> str:
        linear = self.source.linear(f"transformer.h.{layer}.attn.c_attn", self.shape.width, 3 * self.shape.width)
        packed = self.writer.node("Reshape", [self.products.linear(linear, normed), self.packed])
        past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        present = [f"present.{layer}.key", f"present.{layer}.value"]
        attended, *_ = self.writer.nodes(
            "GroupQueryAttention",
            [packed, "", "", *past, "seqlens_k", "total_sequence_length"],
            [self.writer.fresh("GroupQueryAttention"), *present],
            domain=MICROSOFT,
            num_heads=self.shape.heads,
            kv_num_heads=self.shape.heads,
            scale=self.shape.attention_scale(layer),
        )
        return self.writer.node("Reshape", [attended, self.hidden])

    def _norm(self, name: str, value: str) -> str:
        # Not SkipLayerNormalization: adding first and LayerNormalization after is several times faster on CPU.
        parts = [f"{name}.weight", f"{name}.bias"]
        inputs = [value, *(self.writer.constant(part, self.source.array(part, self.shape.width)) for part in parts)]
        return self.writer.node("LayerNormalization", inputs, epsilon=self.shape.epsilon)


def _cache(stem: str, shape: Shape) -> list[onnx.ValueInfoProto]:
    sizes: list[str | int | None] = ["B", shape.heads, "M", shape.head_size]
    names = [f"{stem}.{layer}.{part}" for layer in range(shape.layers) for part in ("key", "value")]
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in names]


def _inputs(shape: Shape) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["B", "S"]),
        helper.make_tensor_value_info("position_ids", TensorProto.INT64, ["B", "S"]),
        helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, ["B"]),
        helper.make_tensor_value_info("total_sequence_length", TensorProto.INT32, []),
        helper.make_tensor_value_info("logit_positions", TensorProto.INT64, ["W"]),
        *_cache("past_key_values", shape),
    ]


def _outputs(shape: Shape) -> list[onnx.ValueInfoProto]:
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["W", shape.vocabulary])
    return [logits, *_cache("present", shape)]
