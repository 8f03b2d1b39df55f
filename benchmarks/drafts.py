"""Measure what drafts gain: tokens/s with a draft table, with prompt lookup alone, and without drafts, interleaved.

python -m benchmarks.drafts models/demo

All three run on one session in one process, and rounds alternate between them. The figures are medians of rounds, and
of the ratios within a round.
"""

import argparse
import asyncio
import time
from pathlib import Path
from statistics import median

from generation.engine.engine import Engine
from generation.engine.request import GenerationRequest
from generation.engine.scheduler import Limits
from generation.engine.speculation import Speculation
from generation.export import sampling
from generation.export.sampling import Manner
from generation.model.draft_table import open_drafts
from generation.model.machine import cpu_limit
from generation.model.opening import open_artifact
from generation.sampling.params import SamplingParams

# The server's defaults: rows of the batch, and draft tokens.
RUNNING, DRAFT = 16, 15
# The model samples the prompts with a seed that no draft table is learned from.
PROMPT, SEED = 16, 99
# Repetitions of the prompts, more than one measurement needs.
REPEATED = 8
POLL_S = 0.001


def engines(folder: Path) -> tuple[dict[str, Engine], list[list[int]]]:
    """Return the engines to compare, by name, and token ids of prompts; all engines share one model."""
    opened = open_artifact(folder, cpu_limit())
    model = opened.model(batch=RUNNING, staging=8, chunk=128)
    limits = Limits(rows=RUNNING, staging=8, tokens=RUNNING * opened.config.context, chunk=128)
    table = open_drafts(folder, opened.config)
    ways = {"off": None, "prompt lookup": Speculation(DRAFT, RUNNING)}
    if table is not None:
        ways["with the table"] = Speculation(DRAFT, RUNNING, table)
    prompts = sampling.write(model, [Manner()] * (4 * RUNNING), seed=SEED).ids[:, :PROMPT].tolist()
    return {name: Engine(model, opened.tokenizer, limits, None, way) for name, way in ways.items()}, prompts


def tokens_per_second(
    engine: Engine, prompts: list[list[int]], streams: int, temperature: float, *, tokens: int, seconds: float
) -> float:
    """Return the throughput of `streams` clients, each of which continues one prompt after the other.

    The load lasts longer than the measurement. With a fixed number of tokens, the batch would empty at the end,
    and hide the gain from drafts. The engine is idle on return, because the next one uses the same model, whose
    buffers are for one step at a time.
    """

    async def client(number: int) -> None:
        for place in range(number, len(prompts), streams):
            how = SamplingParams(do_sample=temperature > 0, temperature=temperature or 1.0, seed=place, ignore_eos=True)
            await engine.submit(GenerationRequest(tuple(prompts[place]), tokens, sampling=how)).rest()

    async def measure() -> float:
        clients = [asyncio.create_task(client(number)) for number in range(streams)]
        began, before = time.perf_counter(), engine.telemetry.generated_tokens
        await asyncio.sleep(seconds)
        found = (engine.telemetry.generated_tokens - before) / (time.perf_counter() - began)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        return found

    found = asyncio.run(measure())
    # A cancelled request stays until the step that has begun is over.
    while engine.waiting or engine.reserved_tokens:
        time.sleep(POLL_S)
    return found


def main() -> int:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="an artifact with an int8 cache")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="concurrent sequences")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 0.8, 0.0], help="0 is greedy")
    parser.add_argument("--tokens", type=int, default=128, help="new tokens of each sequence (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.7, help="time of each measurement (default: %(default)s)")
    options = parser.parse_args()
    made, prompts = engines(options.folder)
    for engine in made.values():
        engine.start()
    print(f"| streams | temperature | {' | '.join(made)} | ratio to off | tokens a step |\n|{'---|' * (len(made) + 4)}")
    for streams in options.streams:
        for temperature in options.temperatures:
            found: dict[str, list[float]] = {name: [] for name in made}
            last = list(made.values())[-1].telemetry
            for turn in range(options.rounds + 1):
                start = turn * streams % len(prompts)
                chosen = (prompts[start:] + prompts[:start]) * REPEATED
                if turn == 1:  # the round before was a warm-up
                    tokens, steps = last.generated_tokens, last.batch.total
                for name in sorted(made, key=lambda _: turn % 2, reverse=bool(turn % 2)):
                    speed = tokens_per_second(
                        made[name], chosen, streams, temperature, tokens=options.tokens, seconds=options.seconds
                    )
                    if turn:
                        found[name].append(speed)
            ratios = [
                f"{median(b / a for a, b in zip(found['off'], speeds, strict=True)):.2f}" for speeds in found.values()
            ][1:]
            per_step = (last.generated_tokens - tokens) / (last.batch.total - steps)
            speeds = " | ".join(f"{median(one):.0f}" for one in found.values())
            print(f"| {streams} | {temperature:g} | {speeds} | {', '.join(ratios)} | {per_step:.2f} |", flush=True)
    for engine in made.values():
        engine.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
