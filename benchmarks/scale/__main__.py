"""Measure one machine under load, and simulate several instances: ``python -m benchmarks.scale``.

    python -m benchmarks.scale measure .bench/ours-int8 --minutes 2
    python -m benchmarks.scale simulate
    python -m benchmarks.scale write

``measure`` puts load on a local server and saves each point as soon as it is measured. Run the same command again to
measure the remaining points. ``simulate`` simulates a fleet of instances with the measured times. ``write`` draws the
plots of docs/scale.md and fills in its tables.
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
    print(
        "all points are measured" if whole else "run the command again to measure the remaining points", file=sys.stderr
    )
    return 0 if whole else 75


def _simulate(options: argparse.Namespace) -> int:
    from benchmarks.scale import study  # needs simpy; `measure` does not

    points = json.loads(RUN.read_text(encoding="utf-8"))["points"]
    curves = fit(medians(points))
    found: dict[str, Any] = {"curves": asdict(curves), "opened": [], "cases": []}
    if SIMULATED.is_file():
        kept = json.loads(SIMULATED.read_text(encoding="utf-8"))
        # Results of other curves are dropped.
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
            print("time limit reached; run the command again to simulate the remaining cases", file=sys.stderr)
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
        if source.is_file():  # otherwise the published file is kept
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
    """Return JSON with every float rounded to five significant digits, the precision of the measurements."""
    if isinstance(found, float):
        return float(f"{found:.5g}")
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items()}
    return [rounded(value) for value in found] if isinstance(found, list) else found


def main() -> int:
    """Parse the command line and run a subcommand; return the exit status, 75 if work remains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    one = kinds.add_parser("measure", help="measure one machine")
    one.add_argument("model", type=Path, help="folder of a model of DistilGPT2's size")
    one.add_argument("--rounds", type=int, default=2, help="measurements of each point (default: %(default)s)")
    one.add_argument("--minutes", type=float, default=60, help="start no point after this time (default: %(default)s)")
    one.add_argument(
        "--noise", type=float, default=0.1, help="maximum CPU share of other processes (default: %(default)s)"
    )
    one.add_argument("--again", action="store_true", help="discard earlier measurements")
    one.set_defaults(run=_measure)
    two = kinds.add_parser("simulate", help="simulate a fleet of instances")
    two.add_argument("--minutes", type=float, default=60, help="time limit (default: %(default)s)")
    two.set_defaults(run=_simulate)
    kinds.add_parser("write", help="write the tables and plots of docs/scale.md").set_defaults(run=_write)
    options = parser.parse_args()
    return int(options.run(options))


if __name__ == "__main__":
    raise SystemExit(main())
