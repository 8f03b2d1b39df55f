"""Run a batch: pass its lines to a backend concurrently, and write each answer once, in bounded memory."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

from generation.cli.batch.answer import Answer
from generation.cli.batch.index import Index
from generation.cli.batch.lines import Line, Source, parse
from generation.cli.batch.output import Output
from generation.cli.batch.tally import Progress, Tally
from generation.errors import ApiError, InvalidRequestError

SYNC_EVERY_S = 5.0
WINDOW = 1024  # answers that may wait for the answer of an earlier line
YIELD_EVERY = 64  # lines between two points at which other tasks run: invalid lines are answered without any await


class StoppedError(ApiError):
    """The run must end early. The output is kept, and the same command continues it later."""


class Backend(Protocol):
    """Answers lines: in this process or with a deployment."""

    @property
    def limit(self) -> int:
        """The number of lines that may run now."""

    @property
    def note(self) -> str:
        """Text about the backend for the progress line, starting with a comma; may be empty."""

    async def open(self) -> None:
        """Prepare to answer lines.

        Raises:
            ApiError: no line can be answered.
        """

    def close(self) -> None:
        """Release the resources of the backend."""

    async def answer(self, line: Line, stop: asyncio.Event) -> Answer | None:
        """Answer a line; return None if `stop` is set before the line can be sent.

        Raises:
            StoppedError: no further line can be answered.
        """


class Runner:
    """One run of a batch.

    Args:
        backend: answers the lines.
        output: gets the answers.
        tally: counts the answers.
        ordered: whether to write answers in the order of the lines.
    """

    def __init__(self, backend: Backend, output: Output, tally: Tally, *, ordered: bool) -> None:
        self.stopping = asyncio.Event()
        self._backend, self._output, self._tally, self._ordered = backend, output, tally, ordered
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._started = self._next = 0
        self._early: dict[int, tuple[Line, Answer]] = {}

    def stop(self, error: BaseException | None = None) -> None:
        """Start no further lines; finish and write the running ones. `run` raises the first `error`."""
        self._error = self._error or error
        self.stopping.set()
        self._changed.set()

    async def run(self, source: Source, index: Index, progress: Progress) -> None:
        """Answer every line that `index` does not mark as answered.

        Raises:
            StoppedError: the run must end early.
            InvalidRequestError: the input has changed since `index` was filled.
        """
        self._tally.start()
        ticks = [
            asyncio.create_task(self._every(progress.every_s, lambda: progress.show(self._backend.note))),
            asyncio.create_task(self._sync()),
        ]
        try:
            await self._feed(remaining(source, index))
        except ApiError as error:
            self.stop(error)
        finally:
            while self._tasks:
                await asyncio.wait(self._tasks)
            for tick in ticks:
                tick.cancel()
            progress.clear()
            self._output.sync()
        if self._error is not None:
            raise self._error

    async def _feed(self, lines: Iterator[Line]) -> None:
        while not self.stopping.is_set():
            while not self._has_room() and not self.stopping.is_set():
                self._changed.clear()
                await self._changed.wait()
            line = None if self.stopping.is_set() else next(lines, None)
            if line is None:
                return
            place = self._started
            self._started += 1
            if line.error is not None:
                self._finish(place, line, Answer.failure(line.error))
            else:
                task = asyncio.create_task(self._answer(place, line))
                self._tasks.add(task)
                task.add_done_callback(self._ended)
            if place % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _has_room(self) -> bool:
        return len(self._tasks) < self._backend.limit and len(self._early) < WINDOW

    async def _answer(self, place: int, line: Line) -> None:
        answer = await self._backend.answer(line, self.stopping)
        if answer is not None:
            self._finish(place, line, answer)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.stop(error)

    def _finish(self, place: int, line: Line, answer: Answer) -> None:
        """Write an answer: at once, or with `ordered` as soon as those of all earlier lines are written."""
        if not self._ordered:
            self._next += 1
            self._write(line, answer)
            return
        self._early[place] = line, answer
        while self._next in self._early:
            self._write(*self._early.pop(self._next))
            self._next += 1

    def _write(self, line: Line, answer: Answer) -> None:
        try:
            self._output.write(answer.render(line))
        except BrokenPipeError:
            raise  # the command line handles it
        except OSError as error:
            message = f"{self._output.name} cannot be written: {error.strerror}"
            raise StoppedError(message) from None
        self._tally.add(answer)
        self._changed.set()

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(SYNC_EVERY_S)
            await asyncio.to_thread(self._output.sync)

    async def _every(self, seconds: float, call: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(seconds)
            call()


def remaining(source: Source, index: Index) -> Iterator[Line]:
    """Yield the lines that are not answered, except those appended since `index` was filled.

    Raises:
        InvalidRequestError: the input has changed in another way.
    """
    for place, (number, text) in enumerate(source.lines(), 1):
        if place > index.lines:
            return
        line = parse(number, text)
        entry = index.find(line.key)
        if entry is None or entry.fingerprint != line.fingerprint:
            raise InvalidRequestError(f"{source.name} has changed while it was read: line {number}")
        if not entry.done:
            yield line
