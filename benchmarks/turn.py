"""Run one turn of one engine: a new process that runs workloads one after the other."""

import json
import os
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.entries import Entry
from generation.config import ROOT

LIMIT_S = 240.0

Figures = dict[str, list[float]]


class EngineError(RuntimeError):
    """The engine's process ended, hung, or sent an invalid result."""


@dataclass(slots=True)
class Turn:
    """The results of one turn.

    Attributes:
        round: number of the round, from 1.
        label: label of the engine.
        kind: ``engine``, ``sampled``, ``http`` or ``machine``.
        figures: measured values by figure.
        others: fraction of processor time that other processes used. Above a few percent the figures are unreliable.
    """

    round: int
    label: str
    kind: str
    figures: Figures
    others: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to repeat a workload: `repeats` times or for `seconds`; `most` limits the new tokens of a trial run."""

    repeats: int = 3
    seconds: float = 3.0
    most: int | None = None


@dataclass(slots=True)
class Share:
    """The result of `watch_others`."""

    others: float = 0.0


@contextmanager
def watch_others(*running: int) -> Iterator[Share]:
    """Measure the fraction of processor time that other processes use while the block runs.

    Not counted are this process, its children that end within the block, and the processes with the ids `running`.
    """
    share = Share()
    began, busy, own = time.monotonic(), _busy_s(), _own_s(*running)
    yield share
    cores = len(os.sched_getaffinity(0))
    others = (_busy_s() - busy) - (_own_s(*running) - own)
    share.others = min(1.0, max(0.0, others / cores / (time.monotonic() - began)))


def _busy_s() -> float:
    """Return the seconds that the allowed processors have been busy, including time stolen by other machines."""
    names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    total = 0
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        name, *times = line.split()
        if name in names:
            user, nice, system, _, _, interrupts, soft, steal = map(int, times[:8])
            total += user + nice + system + interrupts + soft + steal
    return total / os.sysconf("SC_CLK_TCK")


def _own_s(*running: int) -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    stats = [Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split() for pid in running]
    ticks = sum(int(fields[11]) + int(fields[12]) for fields in stats)
    return sum(one.ru_utime + one.ru_stime for one in used) + ticks / os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Worker:
    """A running worker process, which answers each line with a line."""

    process: subprocess.Popen[str]
    errors: Path

    def read(self) -> dict[str, Any]:
        """Return the worker's next result; skip other output, such as that of libraries.

        Raises:
            EngineError: the worker ended, or was ended after `LIMIT_S` seconds.
        """
        for line in self.process.stdout or ():
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        said = self.errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        status = self.process.wait()
        raise EngineError((said[-1] if said and status > 0 else f"ended with status {status}")[:200])

    def ask(self, workload: str, seed: int, most: int | None) -> dict[str, Any]:
        """Run a workload; return its result. Raises like `read`."""
        if self.process.stdin is None:
            raise EngineError("no way to ask")
        try:
            self.process.stdin.write(json.dumps({"workload": workload, "seed": seed, "most": most}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # `read` says why
        return self.read()


@contextmanager
def start(command: Sequence[str], settings: Mapping[str, str], limit_s: float = LIMIT_S) -> Iterator[Worker]:
    """Start a worker; end it at the end of the block, or after `limit_s` seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        errors = Path(scratch) / "stderr"
        with errors.open("w", encoding="utf-8") as stderr:
            process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | dict(settings), text=True, encoding="utf-8",
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
            )  # fmt: skip
        guard = threading.Timer(limit_s, process.kill)
        guard.start()
        try:
            yield Worker(process, errors)
        finally:
            guard.cancel()
            process.kill()
            process.communicate()


def measure(
    command: Sequence[str], settings: Mapping[str, str], workloads: Sequence[str], plan: Plan, seed: int
) -> tuple[Figures, dict[str, str]]:
    """Return the figures of one new process, and the versions of its packages.

    Raises:
        EngineError: the process gives no result.
    """
    began = time.perf_counter()
    with start(command, settings) as worker:
        first = worker.read()
        figures = {name: [float(value)] for name, value in first["figures"].items()}
        figures["fresh_s"] = [time.perf_counter() - began]
        for workload in workloads:
            values, until = figures.setdefault(workload, []), 0.0
            for repeat in range(plan.repeats):
                answer = worker.ask(workload, 1000 * seed + repeat + 1, plan.most)
                values.append(answer["value"])
                figures["peak_mib"] = [answer["peak_mib"]]
                # Time counts from the first result on, because the engine warms up before it.
                until = until or time.monotonic() + plan.seconds
                if time.monotonic() >= until:
                    break
    return figures, first["versions"]


def command_of(entry: Entry) -> list[str]:
    """Return the command that starts an entry's worker."""
    return [str(entry.python), "-m", "benchmarks.worker", entry.engine, str(entry.path)]
