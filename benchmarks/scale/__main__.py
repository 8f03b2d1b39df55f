"""How cost grows on one machine, and past it: ``python -m benchmarks.scale``.

    python -m benchmarks.scale measure .bench/ours-int8 --minutes 2
    python -m benchmarks.scale simulate
    python -m benchmarks.scale write

``measure`` loads a server of our own and writes each point at once; the same command goes on where the last one ended.
``simulate`` feeds the measured curves to a fleet of instances. ``write`` draws the pictures of docs/scale.md and fills
in its tables.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.entries import FOLDER
from benchmarks.scale import measure
from benchmarks.scale.curves import fit, medians
from generation.config import ROOT

if TYPE_CHECKING:
    from benchmarks.scale.study import Case

RUN, SIMULATED = FOLDER / "scale.json", FOLDER / "simulation.json"
PLOTTER = FOLDER / "venv" / "plot" / "bin" / "python"


def _measure(options: argparse.Namespace) -> int:
    results = measure.fresh()
    if RUN.is_file() and not options.again:
        results = json.loads(RUN.read_text(encoding="utf-8"))

    def save() -> None:
        RUN.parent.mkdir(exist_ok=True)
        RUN.write_text(json.dumps(results), encoding="utf-8")

    plan = measure.Plan(options.rounds, options.noise, time.monotonic() + 60 * options.minutes)
    whole = measure.run(results, options.model, plan, save)
    print("all points are measured" if whole else "the same command measures what is missing", file=sys.stderr)
    return 0 if whole else 75


def _simulate(options: argparse.Namespace) -> int:
    from benchmarks.scale import study  # it needs simpy, which measuring does not

    points = json.loads(RUN.read_text(encoding="utf-8"))["points"]
    curves = fit(medians(points))
    found: dict[str, Any] = {"curves": asdict(curves), "opened": [], "cases": []}
    if SIMULATED.is_file():
        kept = json.loads(SIMULATED.read_text(encoding="utf-8"))
        # What was simulated with other curves does not count.
        found = kept if kept["curves"] == json.loads(json.dumps(found["curves"])) else found
    found["opened"] = study.beside(points, curves)
    wanted = list(study.cases(curves))
    missing = [case for case in wanted if not any(_is(one, case) for one in found["cases"])]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        running = {pool.submit(study.run, case, curves) for case in missing}
        try:
            for done in as_completed(running, 60 * options.minutes):
                found["cases"].append(done.result())
                SIMULATED.write_text(json.dumps(found), encoding="utf-8")
        except TimeoutError:
            pool.shutdown(wait=False, cancel_futures=True)
            print("the time was up; the same command simulates what is missing", file=sys.stderr)
            return 75
    found["cases"] = [one for case in wanted for one in found["cases"] if _is(one, case)]
    SIMULATED.write_text(json.dumps(found), encoding="utf-8")
    return 0


def _is(found: dict[str, Any], case: "Case") -> bool:
    return all(found[name] == value for name, value in asdict(case).items())


def _write(_: argparse.Namespace) -> int:
    from benchmarks.scale import report

    report.FOLDER.mkdir(exist_ok=True)
    for source, target in ((RUN, report.CURVES), (SIMULATED, report.SIMULATION)):
        if source.is_file():  # otherwise what is published stays
            found = json.loads(source.read_text(encoding="utf-8"))
            target.write_text(json.dumps(rounded(found), indent=1) + "\n", encoding="utf-8")
    command = [str(PLOTTER), "-m", "benchmarks.scale.plot", report.CURVES, report.SIMULATION, report.FOLDER]
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True)
    page = report.filled(
        report.PAGE.read_text(encoding="utf-8"), report.read(report.CURVES), report.read(report.SIMULATION)
    )
    report.PAGE.write_text(page, encoding="utf-8")
    return 0


def rounded(found: Any) -> Any:
    """Return JSON with five digits of every number: more were not measured."""
    if isinstance(found, float):
        return float(f"{found:.5g}")
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items()}
    return [rounded(value) for value in found] if isinstance(found, list) else found


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True, metavar="what")
    one = kinds.add_parser("measure", help="the curves of one machine")
    one.add_argument("model", type=Path, help="folder of the model, of DistilGPT2's size")
    one.add_argument("--rounds", type=int, default=2, help="default: %(default)s")
    one.add_argument("--minutes", type=float, default=60, help="no point begins later (default: %(default)s)")
    one.add_argument(
        "--noise", type=float, default=0.1, help="most that others may take of the processors (default: %(default)s)"
    )
    one.add_argument("--again", action="store_true", help="forget what was measured before")
    one.set_defaults(run=_measure)
    two = kinds.add_parser("simulate", help="a fleet of instances with these curves")
    two.add_argument("--minutes", type=float, default=60, help="no longer than this (default: %(default)s)")
    two.set_defaults(run=_simulate)
    kinds.add_parser("write", help="tables and pictures of docs/scale.md").set_defaults(run=_write)
    options = parser.parse_args()
    return int(options.run(options))


if __name__ == "__main__":
    raise SystemExit(main())
