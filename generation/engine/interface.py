"""The interface of a model and its KV cache, as the engine uses them; `generation.model` implements it.

The cache has numbered rows. Sequences decode in the first rows, the batch; prompts are prefilled in staging rows after
them.
"""

from collections.abc import Sequence as Ids
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Block = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a prompt to prefill.

    Attributes:
        row: staging row that holds the prompt.
        ids: token ids of the piece.
        start: number of prompt tokens that the row already holds.
        wanted: index into `ids` of the first token whose logits are returned; ``len(ids)`` for no logits.
    """

    row: int
    ids: Ids[int]
    start: int
    wanted: int


class Cache(Protocol):
    """Operations on the rows of a KV cache."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of row `source` to row `target`."""

    def release(self, row: int) -> None:
        """Free the memory of a row; its contents are lost."""

    def read(self, row: int, start: int, stop: int) -> Block:
        """Return a copy of the keys and values of tokens `start` to `stop` of a staging row."""

    def write(self, row: int, start: int, block: Block) -> None:
        """Write a block that `read` returned to a staging row, from token `start` on."""


class LanguageModel(Protocol):
    """The computations of a step."""

    @property
    def cache(self) -> Cache:
        """The cache to which the model appends keys and values."""

    def prefill(self, chunks: Ids[Chunk]) -> Logits:
        """Compute chunks in different rows; return the wanted logits, [W, vocabulary], chunk by chunk."""

    def decode(self, ids: Ids[Ids[int]], lengths: Ids[int]) -> Logits:
        """Append tokens to the first ``len(ids)`` rows; return the logits after each token, row by row.

        Args:
            ids: tokens to append to each row, at least one per row; N in all.
            lengths: number of tokens that each row already holds.

        Returns:
            Logits of shape [N, vocabulary].
        """


class DraftTable(Protocol):
    """Guesses the next token of any text."""

    def guess(self, context: Ids[int]) -> tuple[int, float] | None:
        """Return a token that may follow the last tokens of `context`, and its chance in (0, 1); None if unknown."""
