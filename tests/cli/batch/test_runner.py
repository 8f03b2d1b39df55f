"""The run: many at once, each line once, in order where that is asked for, and every way to end early."""

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from generation.cli.batch import runner as module
from generation.cli.batch.answer import Answer
from generation.cli.batch.index import Index
from generation.cli.batch.lines import Line, open_source, parse
from generation.cli.batch.output import open_output
from generation.cli.batch.runner import Runner, StoppedError
from generation.cli.batch.tally import Progress, Tally
from generation.errors import InvalidRequestError
from tests.support.batch import Echo, ids, read, request, write

NAMES = [f"line-{number}" for number in range(12)]


class Trial:
    """One run over twelve lines and a bad one; `during` gets the runner when it has started."""

    def __init__(self, folder: Path, backend: Echo, *, ordered: bool = False) -> None:
        self.source = write(folder / "in", [*map(request, NAMES), b"bad"])
        self.out = folder / "out"
        self.backend, self.ordered = backend, ordered
        self.tally = Tally(0, 0)

    async def run(self, during: Callable[[Runner], object] = lambda _: None) -> None:
        with open_source(str(self.source)) as source, Index() as index:
            index.fill(source)
            with open_output(str(self.out), index, ordered=self.ordered, retry_failed=False) as output:
                self.tally = Tally(index.lines, index.done)
                runner = Runner(self.backend, output, self.tally, ordered=self.ordered)
                asyncio.get_running_loop().call_soon(during, runner)
                await runner.run(source, index, Progress(io.StringIO(), self.tally))


async def test_every_line_is_answered_once_and_a_bad_one_is_a_line_too(tmp_path: Path) -> None:
    trial = Trial(tmp_path, Echo())
    await trial.run()
    lines = {line["custom_id"]: line for line in read(trial.out)}
    assert sorted(map(str, lines)) == sorted([*NAMES, "None"])
    assert all(lines[name]["response"]["body"]["prompt"] == "Once" for name in NAMES)
    assert lines[None]["error"]["code"] == "invalid_body"
    assert (trial.tally.done, trial.tally.failed) == (13, 1)
    assert trial.backend.most == 4


async def test_a_slow_line_holds_up_no_other(tmp_path: Path) -> None:
    backend = Echo(limit=2)
    gate = backend.gates["line-0"] = asyncio.Event()

    trial = Trial(tmp_path, backend)

    async def let_go() -> None:
        while not trial.out.exists() or len(ids(trial.out)) < 12:  # noqa: ASYNC110
            await asyncio.sleep(0)
        gate.set()

    task = asyncio.create_task(let_go())
    await trial.run()
    await task
    assert ids(trial.out)[-1] == "line-0"


async def test_order_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    backend = Echo()
    gate = backend.gates["line-0"] = asyncio.Event()
    trial = Trial(tmp_path, backend, ordered=True)

    async def let_go() -> None:
        while len(backend.seen) < 12:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert ids(trial.out) == []
        gate.set()

    task = asyncio.create_task(let_go())
    await trial.run()
    await task
    assert ids(trial.out) == [*NAMES, None]


async def test_order_waits_for_a_slow_line_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 3)
    backend = Echo(limit=2)
    gate = backend.gates["line-0"] = asyncio.Event()
    trial = Trial(tmp_path, backend, ordered=True)

    async def let_go() -> None:
        for _ in range(200):
            await asyncio.sleep(0)
        assert backend.seen == NAMES[:4]  # the slow one, and as many as may wait for it
        gate.set()

    task = asyncio.create_task(let_go())
    await trial.run()
    await task
    assert ids(trial.out) == [*NAMES, None]


async def test_a_second_run_does_only_what_is_left(tmp_path: Path) -> None:
    trial = Trial(tmp_path, Echo())
    await trial.run()
    lines = trial.out.read_bytes().splitlines(keepends=True)
    trial.out.write_bytes(b"".join(lines[:5]))
    left = sorted(set(NAMES) - set(ids(trial.out)))
    trial.backend.seen.clear()
    await trial.run()
    assert sorted(map(str, trial.backend.seen)) == left
    assert sorted(trial.out.read_bytes().splitlines(keepends=True)) == sorted(lines)


async def test_a_stop_finishes_what_runs_and_begins_no_more(tmp_path: Path) -> None:
    backend = Echo(limit=2)
    gates = [backend.gates.setdefault(name, asyncio.Event()) for name in ("line-0", "line-1")]
    trial = Trial(tmp_path, backend)

    async def stop(runner: Runner) -> None:
        while len(backend.seen) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        runner.stop()
        for gate in gates:
            gate.set()

    tasks: list[asyncio.Task[None]] = []
    await trial.run(lambda runner: tasks.append(asyncio.ensure_future(stop(runner))))
    await tasks[0]
    assert sorted(ids(trial.out)) == ["line-0", "line-1"]


class _Broken(Echo):
    """Fails from the fifth line."""

    async def answer(self, line: Line, stop: asyncio.Event) -> Answer | None:
        if line.number >= 5:
            raise StoppedError("it is gone")
        return await super().answer(line, stop)


async def test_a_backend_that_cannot_go_on_ends_the_run_and_what_was_written_stays(tmp_path: Path) -> None:
    trial = Trial(tmp_path, _Broken(limit=1))
    with pytest.raises(StoppedError, match="it is gone"):
        await trial.run()
    assert ids(trial.out) == NAMES[:4]


async def test_a_full_disk_ends_the_run_with_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("generation.cli.batch.output.Output.write", full)
    with pytest.raises(StoppedError, match="cannot be written: No space left"):
        await Trial(tmp_path, Echo()).run()


async def test_an_input_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    with open_source(str(write(tmp_path / "in", [request("a"), request("b")]))) as source, Index() as index:
        index.fill(source)
        write(tmp_path / "in", [request("a"), request("c"), request("d")])
        lines = module.remaining(source, index)
        assert next(lines).custom_id == "a"
        with pytest.raises(InvalidRequestError, match="has changed while it was read: line 2"):
            next(lines)


async def test_lines_that_are_appended_meanwhile_wait_for_the_next_run(tmp_path: Path) -> None:
    with open_source(str(write(tmp_path / "in", [request("a")]))) as source, Index() as index:
        index.fill(source)
        write(tmp_path / "in", [request("a"), request("b")])
        assert [line.key for line in module.remaining(source, index)] == [parse(1, request("a")).key]
