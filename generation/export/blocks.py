"""Write products with 4-bit or 8-bit weights and 8-bit activations, each with a scale per block.

The operator computes a whole linear layer. For a few rows, memory bandwidth bounds it. For many rows it is slower than
`Int8Products`. An embedding table that is also the language model head is stored once.

onnxruntime's kernels compute rows in pairs and round an unpaired row differently. A response must not depend on
concurrent requests, so the caller must run the graph with even numbers of logits, and of tokens if all products are of
this kind.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from generation.export.moments import Moments
from generation.export.nodes import MICROSOFT, GraphWriter
from generation.export.products import EMBEDDING, HEAD, Activation, Int8Products, Linear, WholeProducts
from generation.export.quantize import Blocks, quantize_blocks, round_blocks

# Value of the operator's attribute `accuracy_level` that selects 8-bit multiplication.
INT8_ACCURACY = 4


class BlockProducts(WholeProducts):
    """Products whose weights are unsigned numbers: 4 bits with zero point 8, or 8 bits with zero point 128."""

    def __init__(
        self,
        writer: GraphWriter,
        table: NDArray[np.float32],
        head: NDArray[np.float32],
        activation: Activation,
        *,
        bits: Literal[4, 8],
        block: int,
        moments: Moments,
    ) -> None:
        super().__init__(writer, activation)
        self._vocabulary, self._width = table.shape
        self._bits, self._block, self._moments = bits, block, moments
        blocks = self._rounded(head, HEAD)
        self._head = self._stored(f"{HEAD}.weight", blocks)
        if head is not table:  # the moments are those of the head's input
            blocks = self._rounded(table, EMBEDDING)
        # GatherBlockQuantized takes the block size as an attribute, and the weights of a row in one piece.
        whole = Blocks(blocks.values.reshape(len(table), -1), blocks.scales)
        self._table = self._stored(EMBEDDING, whole)

    def _rounded(self, rows: NDArray[np.float32], layer: str) -> Blocks:
        if self._bits == 8:  # noqa: PLR2004 - moments do not improve rounding to 8 bits
            return round_blocks(rows, self._block)
        return quantize_blocks(rows, self._block, self._moments.get(layer))

    def _stored(self, name: str, blocks: Blocks) -> list[str]:
        """Store a quantized matrix in the graph; return the names of its weights and its scales."""
        return [self._writer.constant(name, blocks.values), self._writer.constant(f"{name}.scale", blocks.scales)]

    def embed(self, ids: str) -> str:
        """Look up rows of the embedding table, and dequantize them."""
        values, scales = self._table
        return self._writer.node(
            "GatherBlockQuantized",
            [values, ids, scales],
            domain=MICROSOFT,
            gather_axis=0,
            quantize_axis=1,
            block_size=self._block,
            bits=self._bits,
        )

    def linear(self, layer: Linear, value: str) -> str:
        """Write one operator that includes the bias."""
        weight = self._stored(f"{layer.name}.weight", self._rounded(layer.weight.T, layer.name))
        bias = self._writer.constant(f"{layer.name}.bias", layer.bias)
        return self._product([value, *weight, "", "", bias], *layer.weight.shape)

    def logits(self, value: str, output: str) -> None:
        """Write the product with the language model head."""
        self._product([value, *self._head], self._width, self._vocabulary, output)

    def _product(self, inputs: list[str], width: int, outputs: int, name: str | None = None) -> str:
        return self._writer.nodes(
            "MatMulNBits",
            inputs,
            [name or self._writer.fresh("MatMulNBits")],
            domain=MICROSOFT,
            K=width,
            N=outputs,
            bits=self._bits,
            block_size=self._block,
            accuracy_level=INT8_ACCURACY,
        )[0]


class BlockHeadProducts(Int8Products):
    """Writes `Int8Products`, except that the head and the embedding table have 8-bit weights with a scale per block.

    The head is nearly half of DistilGPT2's weights. It is computed only for the rows whose logits are needed.
    """

    def __init__(
        self,
        writer: GraphWriter,
        table: NDArray[np.float32],
        head: NDArray[np.float32],
        activation: Activation,
        *,
        block: int,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        self._block = block
        super().__init__(writer, table, head, activation, scales=scales)

    def _store(self, table: NDArray[np.float32], head: NDArray[np.float32]) -> None:
        made = BlockProducts(self._writer, table, head, self._activation, bits=8, block=self._block, moments={})
        self._blocks = made

    def embed(self, ids: str) -> str:
        """Look up rows of the embedding table, and dequantize them."""
        return self._blocks.embed(ids)

    def logits(self, value: str, output: str) -> None:
        """Write the product with the language model head as one operator, which applies all scales."""
        self._blocks.logits(value, output)
