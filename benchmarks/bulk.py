"""Measure ``batch`` in this process: its speed compared with the engine alone, and its memory over a long file.

    python -m benchmarks.bulk throughput MODEL_DIR --pairs 5
    python -m benchmarks.bulk memory MODEL_DIR --lines 1000000

``throughput`` runs the same prompts twice: submitted to the engine directly, and as the lines of a file through all the
code of ``python -m generation batch``. Both run in one process on one engine. The order alternates from pair to pair,
so that other load affects both equally. The results are the medians of the ratios of tokens per second, and of tokens
per second of processor time; on a busy machine only the latter is reliable.
``memory`` runs the command on a file of short lines and samples its resident memory.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.turn import watch_others
from generation.cli.batch.local import widen
from generation.config import ROOT
from generation.model.machine import memory_limit


def write_lines(path: Path, bodies: Iterator[dict[str, Any]]) -> None:
    """Write an input file of completions."""
    with path.open("w", encoding="utf-8") as file:
        for number, body in enumerate(bodies):
            line = {"custom_id": f"line-{number}", "method": "POST", "url": "/v1/completions", "body": body}
            file.write(json.dumps(line) + "\n")


class Speed(NamedTuple):
    """New tokens per second, and per second of this process's processor time."""

    tokens: float
    processor: float


class Clock:
    """Measures time and processor time from its creation on."""

    def __init__(self) -> None:
        self._began, self._processor = time.perf_counter(), time.process_time()

    def speed(self, tokens: int) -> Speed:
        """Return the speed of generating `tokens` tokens since the creation."""
        return Speed(tokens / (time.perf_counter() - self._began), tokens / (time.process_time() - self._processor))


class Bench:
    """One loaded engine, and the two ways to submit work to it.

    Args:
        folder: folder of the model.
    """

    def __init__(self, folder: Path) -> None:
        os.environ["MODEL_DIR"] = str(folder.resolve())
        widen(os.environ, memory_limit())
        sys.path.insert(0, str(ROOT))
        from function_app import app, service
        from generation.cli.host import endpoints

        self._endpoints, self._service = endpoints(app, ROOT / "host.json"), service
        self._service.wait()
        self._loaded = self._service.loaded()

    def prompts(self, count: int, length: int, seed: int) -> list[list[int]]:
        """Return random prompts; prompts of different seeds share no prefix that could be cached."""
        choose = random.Random(seed)  # noqa: S311 - not for secrets
        last = self._loaded.config.vocabulary - 1
        return [[choose.randrange(last) for _ in range(length)] for _ in range(count)]

    def engine_alone(self, prompts: list[list[int]], new: int) -> Speed:
        """Return the speed of the engine, whose queue is never empty."""
        from generation.engine.request import GenerationRequest
        from generation.sampling.params import SamplingParams

        sampling = SamplingParams(do_sample=False, ignore_eos=True)
        requests = [GenerationRequest(tuple(prompt), new, sampling=sampling) for prompt in prompts]

        async def every() -> None:
            waiting = iter(requests)

            async def one_after_the_other() -> None:
                for request in waiting:
                    await self._loaded.engine.submit(request).rest()

            await asyncio.gather(*(one_after_the_other() for _ in range(2 * self._service.settings.max_running)))

        clock = Clock()
        asyncio.run(every())
        return clock.speed(len(prompts) * new)

    def batch(self, prompts: list[list[int]], new: int) -> Speed:
        """Return the speed of a batch file, from its first byte to its last response.

        Raises:
            RuntimeError: a line was not answered in full.
        """
        from generation.cli.batch.index import Index
        from generation.cli.batch.lines import open_source
        from generation.cli.batch.local import LocalBackend
        from generation.cli.batch.output import open_output
        from generation.cli.batch.runner import Runner
        from generation.cli.batch.tally import Progress, Tally

        body = {"max_tokens": new, "temperature": 0, "ignore_eos": True}
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "in.jsonl"
            write_lines(path, (body | {"prompt": prompt} for prompt in prompts))
            backend = LocalBackend(self._endpoints, self._service, "/api")
            clock = Clock()
            with open_source(str(path)) as source, Index() as index:
                index.fill(source)
                with open_output(f"{scratch}/out", index, ordered=False, retry_failed=False) as output:
                    tally = Tally(index.lines, 0)
                    runner = Runner(backend, output, tally, ordered=False)
                    asyncio.run(runner.run(source, index, Progress(StringIO(), tally)))
            speed = clock.speed(len(prompts) * new)
        if tally.failed or tally.new_tokens != len(prompts) * new:
            raise RuntimeError(f"not every line was answered: {tally.summary()}")
        return speed

    def close(self) -> None:
        """Stop the engine."""
        self._service.stop()


def throughput(options: argparse.Namespace) -> int:
    """Print each pair and the median ratio; return the exit status, 1 if the median is below the bound."""
    bench = Bench(options.model)

    def alone(seed: int) -> Speed:
        return bench.engine_alone(bench.prompts(options.count, options.prompt_tokens, seed), options.new_tokens)

    def batch(seed: int) -> Speed:
        return bench.batch(bench.prompts(options.count, options.prompt_tokens, seed), options.new_tokens)

    ratios, processor = [], []
    print("| pair | engine alone, tokens/s | batch, tokens/s | ratio | ratio by processor time | other processes |")
    print("|---|---|---|---|---|---|")
    try:
        alone(0)
        for pair in range(1, options.pairs + 1):
            with watch_others() as share:
                if pair % 2:
                    first, second = alone(pair), batch(-pair)
                else:
                    second, first = batch(-pair), alone(pair)
            ratios.append(second.tokens / first.tokens)
            processor.append(second.processor / first.processor)
            cells = f"{first.tokens:.0f} | {second.tokens:.0f} | {ratios[-1]:.3f} | {processor[-1]:.3f}"
            print(f"| {pair} | {cells} | {share.others:.0%} |", flush=True)
    finally:
        bench.close()
    print(f"\nThe median ratio is {median(ratios):.3f}, by processor time {median(processor):.3f}.")
    return 0 if median(ratios) >= options.bound else 1


@contextmanager
def running(command: list[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block ends."""
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def resident_mib(process: int) -> float:
    """Return the anonymous resident memory of a process in MiB, without mapped files such as the weights."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def memory(options: argparse.Namespace) -> int:
    """Print the memory after every tenth of the lines; return the exit status, 1 if it grew beyond the bound."""
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "in.jsonl", Path(scratch) / "out.jsonl"
        body = {"prompt": "Once", "max_tokens": 1, "temperature": 0}
        write_lines(source, (body for _ in range(options.lines)))
        command = [sys.executable, "-m", "generation", "batch", str(source), str(target)]
        samples: list[tuple[int, float]] = []
        with running(command, MODEL_DIR=str(options.model.resolve())) as process:
            size = 0
            while process.poll() is None:
                time.sleep(0.2)
                written = target.stat().st_size if target.exists() else 0
                if written > size and process.poll() is None:
                    # All lines have about the same length, so the size of the output shows the number of lines.
                    size = written + options.lines * 5
                    samples.append((written, resident_mib(process.pid)))
            lines = sum(1 for _ in target.open("rb"))
            total = target.stat().st_size
    print("| lines answered | resident memory of its own, MiB |\n|---|---|")
    for written, mib in samples:
        print(f"| {written * lines // total} | {mib:.1f} |")
    warm = [mib for written, mib in samples if written * 10 >= total]
    growth = warm[-1] - warm[0]
    print(f"\n{lines} of {options.lines} lines; from the first tenth to the end it grew by {growth:.1f} MiB.")
    return 0 if lines == options.lines and growth <= options.bound else 1


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True, metavar="what")
    one = kinds.add_parser("throughput")
    one.add_argument("--pairs", type=int, default=5, help="default: %(default)s")
    one.add_argument("--count", type=int, default=128, help="prompts in a measurement (default: %(default)s)")
    one.add_argument("--prompt-tokens", type=int, default=16, help="default: %(default)s")
    one.add_argument("--new-tokens", type=int, default=64, help="default: %(default)s")
    one.add_argument("--bound", type=float, default=0.95, help="least median ratio (default: %(default)s)")
    one.set_defaults(run=throughput)
    two = kinds.add_parser("memory")
    two.add_argument("--lines", type=int, default=1_000_000, help="default: %(default)s")
    two.add_argument("--bound", type=float, default=16.0, help="MiB it may grow by (default: %(default)s)")
    two.set_defaults(run=memory)
    for kind in (one, two):
        kind.add_argument("model", type=Path, help="folder of the model")
    options = parser.parse_args()
    return int(options.run(options))


if __name__ == "__main__":
    raise SystemExit(main())
