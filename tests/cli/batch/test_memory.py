"""A million lines take no more memory than a hundred thousand, whatever answers them."""

import asyncio
import io
import os
from pathlib import Path

import pytest

from benchmarks.bulk import resident_mib
from generation.cli.batch.answer import Answer
from generation.cli.batch.index import Index
from generation.cli.batch.lines import Line, open_source
from generation.cli.batch.output import open_output
from generation.cli.batch.runner import Runner
from generation.cli.batch.tally import Progress, Tally
from tests.support.batch import Echo, request, write

LINES = 1_000_000
EVERY = LINES // 10
GROWTH_MIB = 16


class _Sampled(Echo):
    """Answers at once, and notes the memory of this process at every tenth of the lines."""

    def __init__(self) -> None:
        super().__init__(limit=32)
        self.samples: list[float] = []

    async def answer(self, line: Line, stop: asyncio.Event) -> Answer | None:
        if line.number % EVERY == 0:
            self.samples.append(resident_mib(os.getpid()))
        return Answer.response(200, "r", b"{}")


@pytest.mark.heavy
@pytest.mark.parametrize("ordered", [False, True])
async def test_memory_does_not_grow_with_the_input(tmp_path: Path, ordered: bool) -> None:
    path = write(tmp_path / "in", (request(f"r{i}") for i in range(LINES)))
    backend = _Sampled()
    with open_source(str(path)) as source, Index() as index:
        index.fill(source)
        with open_output(str(tmp_path / "out"), index, ordered=ordered, retry_failed=False) as output:
            tally = Tally(index.lines, index.done)
            await Runner(backend, output, tally, ordered=ordered).run(source, index, Progress(io.StringIO(), tally))
    assert tally.done == LINES
    assert len(backend.samples) == 10
    assert backend.samples[-1] - backend.samples[0] < GROWTH_MIB, backend.samples
