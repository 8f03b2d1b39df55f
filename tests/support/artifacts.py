"""Prompts for tests on small random artifacts, and helpers that run the graph of an artifact alone."""

from pathlib import Path

import numpy as np

from generation.engine.interface import Chunk, Logits
from generation.export.attention import cached_size
from generation.export.defaults import DEFAULT_CACHES, Precision
from generation.export.graph import Shape
from generation.model.artifact import ArtifactConfig
from generation.model.model import Model
from generation.model.session import open_session

_RANDOM = np.random.default_rng(0)
PROMPTS: list[list[int]] = [_RANDOM.integers(0, 400, length).tolist() for length in (1, 5, 40, 150)]
LENGTHS = (130, 17, 1, 64, 33)
CHUNK = 128


def model_of(graph: Path, shape: Shape, precision: Precision) -> Model:
    """Return the run time's model on a graph without an artifact: 8 batch rows, then one staging row."""
    config = ArtifactConfig(
        layers=shape.layers,
        heads=shape.heads,
        head_size=cached_size(shape.head_size),
        width=shape.width,
        vocabulary=shape.vocabulary,
        context=shape.context,
        tokens=shape.vocabulary,
        holes=[],
        ends_of_text=[0],
        begin_of_text=0,
        precision=precision,
        cache=DEFAULT_CACHES[precision],
        files={},
        source={},
    )
    return Model(open_session(graph, 2), config, batch=8, staging=1, chunk=CHUNK)


def logits_of_prefill(model: Model, ids: list[int]) -> Logits:
    """Prefill `ids` in the first staging row; return the logits after every token, [len(ids), V]."""
    row = model.cache.batch
    starts = range(0, len(ids), CHUNK)
    return np.concatenate([model.prefill([Chunk(row, ids[at : at + CHUNK], at, 0)]).copy() for at in starts])


def logits_of_batch(model: Model, ids: list[int]) -> Logits:
    """Decode `ids` in the first batch row, as many per step as possible; return the logits after every token."""
    rows = model.cache.batch
    return np.concatenate([model.decode([ids[at : at + rows]], [at]).copy() for at in range(0, len(ids), rows)])
