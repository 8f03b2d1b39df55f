"""Write the attention of the serving graph: two KV caches, each updated in place by a `GroupQueryAttention` operator.

Prompts are prefilled in the *staging* cache, which is float32. Sequences decode in the *batch* cache, which is int8 or
float32. Decoding reads the whole cache for every token, so its size limits the speed of a full batch. Prefill is
limited by arithmetic, which the operator does faster in float32. A step uses one of the caches or both; an unused one
gets one row without tokens.

The operator works on heads of whole blocks of `HEAD_STEP` elements. Other heads are padded with zeros, which change no
product of a query and a key; the padding is removed from the result.

With an int8 cache, the operator computes a token independently of how many tokens or rows a step has. This makes
speculation exact. The operator's scale is 1, because `cache_range.fold` has moved the real scales into the weights.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from generation.export.defaults import CacheType
from generation.export.nodes import MICROSOFT, GraphWriter
from generation.model.artifact import HEAD_STEP

STAGING, BATCH = "staging", "batch"
_TYPES = {"float32": TensorProto.FLOAT, "int8": TensorProto.INT8}


def cached_size(head_size: int) -> int:
    """Return the size of a head in the cache: `head_size`, rounded up to whole blocks."""
    return -(-head_size // HEAD_STEP) * HEAD_STEP


class Attention:
    """Writes the attention of every layer.

    For each part, ``staging`` and ``batch``, the graph has these inputs for R rows of S slots, padded on the right:

    - ``{part}_slots``, int64 [R, S]: index of each slot's token among the N tokens of the step
    - ``{part}_counts``, int32 [R]: number of slots with a token; 0 for a row without tokens
    - ``{part}_seqlens_k``, int32 [R]: number of tokens in the cache after this step, minus 1
    - ``{part}.past.{i}.key`` and ``.value``, [R, H, M, `cached_size(D)`]: the cache, with a ``present`` output for each
      ``past``. M is at least S plus the number of tokens in the longest row.

    The input ``places``, int64 [N], is the slot of each token, counting the slots of staging first, then the batch's.
    """

    def __init__(self, writer: GraphWriter, heads: int, head_size: int, context: int, cache: CacheType) -> None:
        self._writer = writer
        self._heads, self._head_size, self._cached_size = heads, head_size, cached_size(head_size)
        self._types: dict[str, CacheType] = {STAGING: "float32", BATCH: cache}
        self._bound = writer.constant("attention.bound", np.array(context, np.int32))
        self._flat = writer.constant("attention.flat", np.array([-1, heads * self._cached_size], np.int64))
        self._scale = writer.constant("attention.scale", np.array([1], np.float32)) if cache == "int8" else ""

    def write(self, layer: int, packed: str, scale: float) -> str:
        """Attend from `packed` queries, keys and values, [N, 3 * E]; return the name of the result, [N, E]."""
        packed = self._resized(packed, 3 * self._heads, self._head_size, self._cached_size)
        parts = [self._part(part, layer, packed, scale) for part in (STAGING, BATCH)]
        attended = self._writer.node("Gather", [self._writer.node("Concat", parts, axis=0), "places"])
        return self._resized(attended, self._heads, self._cached_size, self._head_size)

    def _resized(self, rows: str, heads: int, size: int, wanted: int) -> str:
        """Cut `rows` [N, heads * size], or pad with zeros, to [N, heads * wanted]."""
        if size == wanted:
            return rows
        apart = self._writer.node("Reshape", [rows, self._sizes("apart", -1, heads, size)])
        change = self._sizes("change", 0, 0, 0, 0, 0, wanted - size)  # Pad cuts where it is less than nought
        together = self._sizes("together", -1, heads * wanted)
        return self._writer.node("Reshape", [self._writer.node("Pad", [apart, change]), together])

    def _sizes(self, name: str, *sizes: int) -> str:
        return self._writer.constant(f"attention.{name}.{'.'.join(map(str, sizes))}", np.array(sizes, np.int64))

    def _part(self, part: str, layer: int, packed: str, scale: float) -> str:
        names = _names(part, layer)
        inputs = [self._writer.node("Gather", [packed, f"{part}_slots"]), "", "", *names["past"]]
        inputs += [f"{part}_seqlens_k", self._bound, "", "", "", "", ""]
        quantized = self._types[part] == "int8"
        inputs += [self._scale, self._scale] if quantized else ["", ""]
        kinds = {"k_quant_type": "PER_TENSOR", "v_quant_type": "PER_TENSOR", "kv_cache_bit_width": 8}
        attended, *_ = self._writer.nodes(
            "GroupQueryAttention",
            [*inputs, "", "", f"{part}_counts"],
            [self._writer.fresh("GroupQueryAttention"), *names["present"]],
            domain=MICROSOFT,
            num_heads=self._heads,
            kv_num_heads=self._heads,
            scale=scale,
            **(kinds if quantized else {}),
        )
        return self._writer.node("Reshape", [attended, self._flat])

    def inputs(self, layers: int) -> Sequence[onnx.ValueInfoProto]:
        """Return the graph's inputs for `layers` layers."""
        found = [helper.make_tensor_value_info("places", TensorProto.INT64, ["N"])]
        for part in (STAGING, BATCH):
            rows, tokens = f"{part} rows", f"{part} tokens"
            found += [
                helper.make_tensor_value_info(f"{part}_slots", TensorProto.INT64, [rows, tokens]),
                helper.make_tensor_value_info(f"{part}_counts", TensorProto.INT32, [rows]),
                helper.make_tensor_value_info(f"{part}_seqlens_k", TensorProto.INT32, [rows]),
            ]
        return [*found, *self._caches(layers, "past")]

    def outputs(self, layers: int) -> Sequence[onnx.ValueInfoProto]:
        """Return the graph's outputs for `layers` layers."""
        return self._caches(layers, "present")

    def _caches(self, layers: int, side: str) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(
                name, _TYPES[self._types[part]], [f"{part} rows", self._heads, "M", self._cached_size]
            )
            for part in (STAGING, BATCH)
            for layer in range(layers)
            for name in _names(part, layer)[side]
        ]


def _names(part: str, layer: int) -> dict[str, list[str]]:
    return {side: [f"{part}.{side}.{layer}.{kind}" for kind in ("key", "value")] for side in ("past", "present")}
