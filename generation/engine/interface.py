"""What the engine needs of a model and its KV cache; `generation.model` has the real ones."""

from collections.abc import Sequence as Ids
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Block = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of a prompt: `ids`, which follow `start` tokens that `row` holds already.

    The logits after its tokens from number `wanted` on are asked for; ``len(ids)`` asks for none.
    """

    row: int
    ids: Ids[int]
    start: int
    wanted: int


class Cache(Protocol):
    """What is done with the rows of a KV cache."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of a row to another."""

    def release(self, row: int) -> None:
        """Forget a row."""

    def read(self, row: int, start: int, stop: int) -> Block:
        """Return a copy of some tokens of a row."""

    def write(self, row: int, start: int, block: Block) -> None:
        """Put what `read` returned into a row."""


class LanguageModel(Protocol):
    """What is computed in a step."""

    @property
    def cache(self) -> Cache:
        """The cache that the model writes."""

    def prefill(self, chunks: Ids[Chunk]) -> Logits:
        """Compute chunks of different rows; return the logits that they want, chunk by chunk."""

    def decode(self, ids: Ids[Ids[int]], lengths: Ids[int]) -> Logits:
        """Compute the tokens that follow in each of the first rows; return logits for all, row by row."""


class DraftTable(Protocol):
    """Guesses the next token of any text."""

    def guess(self, context: Ids[int]) -> tuple[int, float] | None:
        """Return a token that may follow the last tokens of `context`, and its chance in (0, 1); None if unknown."""
