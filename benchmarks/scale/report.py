"""Write the tables of docs/scale.md from the published figures; its prose is written by hand."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.published import with_table
from benchmarks.report import code
from benchmarks.scale.curves import Curves, checks, fit, medians, select
from benchmarks.scale.points import ROWS, START_S
from benchmarks.scale.points import points as plan
from benchmarks.scale.study import APPS, PREMIUM, ROOM, SHAPE, concurrency
from generation.config import ROOT

FOLDER = ROOT / "docs" / "scale"
PAGE = ROOT / "docs" / "scale.md"
CURVES, SIMULATION = FOLDER / "curves.json", FOLDER / "simulation.json"
PICTURES = ("one-machine.png", "fleet.png")

Measured = Mapping[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; without rows, it has one that reads "not measured"."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---:|" * len(head)]
    body = [" | ".join(map(str, row)) for row in rows] or [" | ".join(["not measured", *[""] * (len(head) - 1)])]
    lines += [f"| {row} |" for row in body]
    return "\n".join(lines) + "\n"


def machine(results: Mapping[str, Any]) -> str:
    """Return the table of the machine and of the published run."""
    found = results["machine"]
    rounds = max(point["round"] for point in results["points"])
    others = [point["others"] for point in results["points"]]
    noise = f"{median(others):.0%}, {max(others):.0%}"
    measured = f"{len(medians(results['points']))} of {len(list(plan()))}"
    row = (found["processor"], found["instructions"], found["date"], code(found), rounds, measured, noise)
    head = (
        "processor",
        "instructions",
        "date",
        "code",
        "rounds",
        "points measured",
        "CPU time of other work: median, maximum",
    )
    return table(head, [row])


def clients(points: Sequence[Measured]) -> str:
    """Return the table of concurrent requests, with two cores and with one."""
    rows = []
    for one in sorted(select(points, "clients", cores=2), key=lambda point: point["clients"]):
        alone = select(points, "clients", cores=1, clients=one["clients"])
        rows.append((one["clients"], *_speed(one), *(_speed(alone[0]) if alone else ("",) * 3)))
    half = ("tokens/s", "first token, ms: median", "99 %")
    return table(("clients", *(f"2 cores: {half[0]}", *half[1:]), *(f"1 core: {half[0]}", *half[1:])), rows)


def _speed(one: Measured) -> tuple[str, str, str]:
    return f"{one['tokens_s']:.0f}", f"{one['first_p50_ms']:.0f}", f"{one['first_p99_ms']:.0f}"


def prompts(points: Sequence[Measured]) -> str:
    """Return the table of prompt lengths; the context of a decode step is the prompt and the new tokens."""
    rows = []
    for one in sorted(select(points, "prompts", cores=2, clients=1), key=lambda point: point["prompt"]):
        many = select(points, "prompts", cores=2, clients=ROWS, prompt=one["prompt"])
        alone = select(points, "prompts", cores=1, clients=1, prompt=one["prompt"])
        cells = [f"{one['first_p50_ms']:.0f}", f"{one['gap_p50_ms']:.1f}", f"{one['tokens_s']:.0f}"]
        cells += [f"{many[0]['gap_p50_ms']:.1f}", f"{many[0]['tokens_s']:.0f}"] if many else ["", ""]
        cells += [f"{alone[0]['first_p50_ms']:.0f}"] if alone else [""]
        rows.append((one["prompt"], *cells))
    head = ("prompt tokens", "1 client: first token, ms", "gap, ms", "tokens/s", f"{ROWS} clients: gap, ms", "tokens/s",
            "1 client, 1 core: first token, ms")  # fmt: skip
    return table(head, rows)


def rows_table(points: Sequence[Measured]) -> str:
    """Return the table of memory by rows."""
    found = select(points, "rows")
    cells = [
        (one["rows"], f"{one['memory_mib']:.0f}", f"{one['tokens_s']:.0f}", f"{one['gap_p50_ms']:.1f}") for one in found
    ]
    return table(("`MAX_RUNNING`", "memory, MiB", "tokens/s", "gap, ms"), cells)


def rule(points: Sequence[Measured], curves: Curves) -> str:
    """Return the table of the sizing rule's predictions and the measured throughput."""
    rows = [
        (one.prompt, one.new, f"{one.rule:.0f}", f"{one.measured:.0f}", f"{one.error:+.0%}")
        for one in checks(points, curves)
    ]
    return table(("prompt tokens", "new tokens", "rule, tokens/s", "measured, tokens/s", "error"), rows)


def constants(curves: Curves) -> str:
    """Return the table of the fitted times."""
    rows = [
        ("fixed time of a request over HTTP", f"{1000 * curves.http_s:.1f} ms"),
        ("minimum time of a model run", f"{1000 * curves.run_s:.2f} ms"),
        ("a prompt token", f"{1000 * curves.token_s:.3f} ms"),
        ("additional time of a prompt token, for each 1,000 tokens before its chunk", f"{1e6 * curves.reach_s:.3f} ms"),
        *((f"a decode step, batch of {rows}", f"{1000 * seconds:.2f} ms") for rows, seconds in curves.steps),
        ("additional time of a step, for each row and 1,000 tokens of context", f"{1e6 * curves.context_s:.3f} ms"),
        (
            f"a request of {SHAPE.prompt} + {SHAPE.new} tokens in a full batch",
            f"{1000 * curves.request(16, 64):.1f} ms",
        ),
        ("`CONCURRENCY` of Container Apps by this rule", str(concurrency(curves))),
        ("requests/s of an instance with a full batch", f"{1 / curves.request(16, 64):.1f}"),
    ]
    return table(("what", "time"), rows)


def opened(points: Sequence[Measured]) -> str:
    """Return the table of the open-loop load, measured and simulated."""
    rows = [(f"{one['rate']:.0%}", f"{one['rate_s']:.1f}", *(f"{one[name]:.0f}" for name in _OPENED)) for one in points]
    return table(("load", "requests/s", "measured: median, ms", "99 %", "simulated: median, ms", "99 %"), rows)


_OPENED = ("first_p50_ms", "first_p99_ms", "simulated_p50_ms", "simulated_p99_ms")


def cases(found: Iterable[Measured]) -> str:
    """Return the table of simulated fleets with the default start-up time."""
    rows = []
    names = ("rate", "peak", "plan", "always", "prewarmed")
    for one in sorted(found, key=lambda case: tuple(case[name] for name in names)):
        if one["start_s"] == START_S:
            kept = one["always"] or int(one["plan"] == PREMIUM)
            spare = one["prewarmed"] if one["plan"] == PREMIUM else "-"
            traffic = "bursts" if one["peak"] > 1 else "steady"
            rows.append((f"{one['rate']:,}", traffic, one["plan"], kept, spare, *_outcome(one)))
    return table(("requests/s", "traffic", "plan", "always ready", "prewarmed", *OUTCOME), rows)


def starts(found: Iterable[Measured]) -> str:
    """Return the table of the cases that were simulated with several start-up times."""
    names = ("plan", "rate", "peak", "always", "prewarmed")
    kinds: dict[tuple[Any, ...], list[Measured]] = {}
    for one in found:
        kinds.setdefault(tuple(one[name] for name in names), []).append(one)
    several = [one for kind in kinds.values() if len(kind) > 1 for one in kind]
    several.sort(key=lambda one: (one["start_s"], one["plan"]))
    return table(
        ("start-up", "plan", *OUTCOME), [(f"{one['start_s']:g} s", one["plan"], *_outcome(one)) for one in several]
    )


OUTCOME = ("first token: median", "99 %", "refused", "maximum instances", "instance hours per hour")


def _outcome(one: Measured) -> tuple[str, ...]:
    first = (_seconds(one[name]) for name in ("first_p50_s", "first_p99_s"))
    return (*first, f"{one['refused']:.1%}", str(one["peak_instances"]), f"{one['hours']:.1f}")


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{1000 * value:.0f} ms"


def ends(curves: Curves) -> str:
    """Return the table of the maximum load of each plan, by the sizing rule."""
    each = ROOM / curves.request(SHAPE.prompt, SHAPE.new)
    plans = ((PREMIUM, "20 instances, most regions", 20), (PREMIUM, "100 instances, some regions", 100),
             (APPS, "1,000 replicas", 1000))  # fmt: skip
    rows = [(plan, limit, f"{most * each:,.0f}") for plan, limit, most in plans]
    return table(("plan", "limit", f"requests/s at {ROOM:.0%} load"), rows)


def filled(page: str, results: Mapping[str, Any], simulation: Mapping[str, Any]) -> str:
    """Return the page with every table regenerated."""
    points = medians(results["points"])
    curves = fit(points)
    tables = {
        "Test setup": machine(results),
        "Concurrent requests": clients(points),
        "Prompt length and context": prompts(points),
        "Memory and rows": rows_table(points),
        "The sizing rule": constants(curves),
        "Accuracy of the rule": rule(points, curves),
        "Simulation compared with a real server": opened(simulation["opened"]),
        "Limits of the plans": ends(curves),
        "Load and cost": cases(simulation["cases"]),
        "Start-up time": starts(simulation["cases"]),
    }
    for heading, made in tables.items():
        page = with_table(page, heading, made)
    return page


def read(path: Path) -> dict[str, Any]:
    """Return the content of a published JSON file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
