"""Products with weights of 4 bits: a scale for each block of weights, activations in 8 bits a block.

The embedding table is stored once, for lookup and for the language model head. onnxruntime's kernels compute rows in
pairs, and round an odd one, without a partner, differently. An answer must not depend on its company, so whoever runs
the graph gives it an even number of tokens and of logits.
"""

import numpy as np
from numpy.typing import NDArray

from generation.export.moments import Moments
from generation.export.nodes import MICROSOFT, GraphWriter
from generation.export.products import HEAD, Linear, WholeProducts
from generation.export.quantize import Blocks, quantize_blocks

# Tells the operator to multiply in 8 bits.
INT8_ACCURACY = 4


class Int4Products(WholeProducts):
    """Weights are unsigned nibbles around 8."""

    def __init__(self, writer: GraphWriter, table: NDArray[np.float32], block: int, moments: Moments) -> None:
        super().__init__(writer)
        self._vocabulary, self._width = table.shape
        self._block, self._moments = block, moments
        blocks = self._rounded(table, HEAD)
        self._table, self._head = (self._stored(name, blocks) for name in ("transformer.wte.weight", f"{HEAD}.weight"))

    def _rounded(self, rows: NDArray[np.float32], layer: str) -> Blocks:
        return quantize_blocks(rows, self._block, self._moments.get(layer))

    def _stored(self, name: str, blocks: Blocks) -> list[str]:
        """Return the names of its nibbles and its scales."""
        return [self._writer.constant(name, blocks.values), self._writer.constant(f"{name}.scale", blocks.scales)]

    def embed(self, ids: str) -> str:
        """Look up and scale back: the operator wants a scale of as many dimensions as the nibbles have."""
        values, scales = self._table
        shape = self._writer.constant("int4.table_scales", np.array([self._vocabulary, -1, 1], np.int64))
        rows = self._writer.node(
            "GatherBlockQuantized",
            [values, ids, self._writer.node("Reshape", [scales, shape])],
            domain=MICROSOFT,
            gather_axis=0,
            quantize_axis=2,
            block_size=self._block,
            bits=4,
        )
        return self._writer.node(
            "Reshape", [rows, self._writer.constant("int4.hidden", np.array([-1, self._width], np.int64))]
        )

    def linear(self, layer: Linear, value: str) -> str:
        """One operator, bias included."""
        weight = self._stored(f"{layer.name}.weight", self._rounded(layer.weight.T, layer.name))
        bias = self._writer.constant(f"{layer.name}.bias", layer.bias)
        return self._product([value, *weight, "", "", bias], *layer.weight.shape)

    def logits(self, value: str, output: str) -> None:
        """The table again."""
        self._product([value, *self._head], self._width, self._vocabulary, output)

    def _product(self, inputs: list[str], width: int, outputs: int, name: str | None = None) -> str:
        return self._writer.nodes(
            "MatMulNBits",
            inputs,
            [name or self._writer.fresh("MatMulNBits")],
            domain=MICROSOFT,
            K=width,
            N=outputs,
            bits=4,
            block_size=self._block,
            accuracy_level=INT8_ACCURACY,
        )[0]
