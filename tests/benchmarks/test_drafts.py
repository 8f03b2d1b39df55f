"""The benchmark of drafts runs one engine at a time, because its engines share a model."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.drafts import tokens_per_second
from generation.engine.engine import Engine
from generation.engine.scheduler import Limits
from tests.support.fakes import ByteCodec, FakeModel


class SlowModel(FakeModel):
    """Takes a while for a step, so that a measurement ends within one."""

    def decode(self, ids: Sequence[Sequence[int]], lengths: Sequence[int]) -> NDArray[np.float32]:
        logits = super().decode(ids, lengths)
        time.sleep(0.05)
        return logits


def test_the_engine_is_idle_after_a_measurement() -> None:
    model = SlowModel()
    engine = Engine(model, ByteCodec(), Limits(rows=4, staging=2, tokens=20000, chunk=8))
    engine.start()
    try:
        tokens_per_second(engine, [[97, 98], [99, 100]], 2, 1.0, tokens=1000, seconds=0.12)
        steps = len(model.batches)
        assert steps > 0
        assert (engine.running, engine.waiting, engine.reserved_tokens) == (0, 0, 0)
        time.sleep(0.1)
        assert len(model.batches) == steps
    finally:
        engine.stop()
