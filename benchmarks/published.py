"""Write the documents about the published runs: ``python -m benchmarks.published``.

Each processor has a results file in docs/benchmarks, and a page. The overview of that folder, the README's table and
the figures of the sizing rule combine the results of all processors.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.figures import Aim, Outcome, outcome
from benchmarks.report import BASELINES, FASTEST, bandwidth, code, document, peer, shown, with_sizes
from generation.config import ROOT

FOLDER = ROOT / "docs" / "benchmarks"
README = ROOT / "README.md"
DEPLOY = ROOT / "docs" / "deploy.md"
# Rows of the README's table, by the workload of their aim.
BRIEF = (
    "one stream over HTTP", "16 clients over HTTP", "one stream", "4 sequences", "16 sequences", "768 + 128 tokens",
    "512-token prompt to first token", "one stream, 8 bits in blocks", "4 sequences, 8 bits in blocks",
    "one stream, 4-bit weights", "sampled text of the bundled model, one stream",
    "bulk: a file of 128 prompts",
)  # fmt: skip
# Sizing in docs/deploy.md: number of measured cores, plans with cores and memory, tokens per request, and planned load
# of an instance relative to its throughput.
CORES = 2
PLANS = (("EP1", 1, 3.5), ("EP2", 2, 7), ("EP3", 4, 14))
TOKENS = 50
ROOM = 0.6

Runs = Mapping[str, Mapping[str, Any]]


class Measured(NamedTuple):
    """The outcome of an aim on one processor."""

    processor: str
    outcome: Outcome


def slug(machine: Mapping[str, str]) -> str:
    """Return the stem of a processor's file names."""
    plain = re.sub(r"\(\w+\)|processor", " ", machine["processor"].lower())
    amx = " amx" if "amx" in machine["instructions"] else ""
    return "-".join(re.findall(r"[a-z0-9.]+", plain + amx))


def name(machine: Mapping[str, str]) -> str:
    """Return the name of a processor in the tables."""
    plain = " ".join(re.sub(r"\(\w+\)|Processor", " ", machine["processor"]).split())
    return plain + (" with AMX" if "amx" in machine["instructions"] else "")


def read(folder: Path = FOLDER) -> Runs:
    """Return the results of every processor by file stem, newest first."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    return dict(sorted(found.items(), key=lambda item: (item[1]["machine"]["date"], item[0]), reverse=True))


def measured(runs: Runs, aim: Aim) -> list[Measured]:
    """Return the outcome of an aim on each processor on which it was measured."""
    outcomes = ((name(run["machine"]), outcome(with_sizes(run), aim)) for run in runs.values())
    return [Measured(processor, found) for processor, found in outcomes if found is not None]


def worst(runs: Runs, aim: Aim) -> Measured | None:
    """Return the outcome with the lowest ratio, or None without a measurement."""
    return min(measured(runs, aim), key=lambda one: one.outcome.ratio, default=None)


def comparison(runs: Runs, wanted: tuple[Aim, ...]) -> str:
    """Return a table with a column for each processor, and the worst ratio."""
    names = [name(run["machine"]) for run in runs.values()]
    lines = ["| work | " + " | ".join(names) + " | worst ratio | aim |", "|---" * (len(names) + 1) + "|---:|---:|"]
    for aim in wanted:
        found = {one.processor: one.outcome for one in measured(runs, aim)}
        if not found:
            continue
        cells = [_cell(aim, found[one]) if one in found else "not measured" for one in names]
        least = "" if aim.at_least is None else f"{aim.at_least:.3g}x"
        ratio = min(one.ratio for one in found.values())
        lines.append("| " + " | ".join((aim.work, *cells, f"{ratio:.2f}x", least)) + " |")
    return "\n".join(lines) + "\n"


def _cell(aim: Aim, found: Outcome) -> str:
    ours, theirs = shown(aim.figure, found.ours), shown(aim.figure, found.theirs)
    return f"{ours}; {peer(aim.figure, found.against)} {theirs}: {found.ratio:.2f}x"


def overview(runs: Runs) -> str:
    """Return docs/benchmarks/README.md."""
    rows = "".join(
        f"| [{name(run['machine'])}]({stem}.md) | {run['machine']['date']} | {code(run['machine'])} "
        f"| {run['machine']['cores']} | {bandwidth(run):.0f} | {len({turn['round'] for turn in run['turns']})} |\n"
        for stem, run in runs.items()
    )
    return f"""# Measured side by side

Written by `make bench` from one results file for each processor. The runs may have measured different versions; each
row names its version.

| processor | date | code | cores | GB/s from memory | rounds |
|---|---|---|---:|---:|---:|
{rows}
## Ours and the fastest peer
The peer in a cell is the engine that was fastest in that run. Peers with 4-bit weights count only where ours has 4-bit
weights. The README shows the worst ratio.

{comparison(runs, FASTEST)}
## Ours and the baselines
The baseline is the workshop's app or its pipeline, ours without speculation, or the named peer.

{comparison(runs, BASELINES)}
## How it is measured
Every engine runs alone, in a fresh process. A round measures each engine once, and rounds are repeated. Figures are
medians. A ratio is the median of the ratios within each round, because measurements of one round are close in time.
Ratios are similar on other machines; absolute figures are not.

All engines run models of DistilGPT2's exact size. The weights are random, because speed does not depend on them. Each
engine continues random prompts greedily by exactly the requested number of tokens. For sampled text, all engines run
the bundled model; each peer converts its checkpoint. Each engine has its best settings for this number of threads.
CTranslate2 is shown with its default and with its best setting, threads that spin while they wait. llama.cpp is built
for the processor without AMX, because it crashed with AMX. Each engine warms up for two seconds before it is measured.

The HTTP rows compare three servers: ours under its embedded host; the workshop's FastAPI app around the pipeline, which
serves one request at a time; and, if installed, vLLM's server on its CPU backend. The clients run on the same cores as
the server.
"""


def brief(runs: Runs) -> str:
    """Return the README's table; each row is from the processor with the lowest ratio."""
    lines = ["| workload | this project | fastest peer | speedup | processor |", "|---|---|---|---|---|"]
    aims = {aim.work: aim for aim in FASTEST}
    for work in BRIEF:
        found = worst(runs, aims[work])
        if found is None:
            continue
        figure = found.outcome.aim.figure
        unit = shown(figure, 0).split()[1]
        ours, theirs = (shown(figure, one).split()[0] for one in (found.outcome.ours, found.outcome.theirs))
        beside = f"{theirs}, {peer(figure, found.outcome.against)}"
        lines.append(f"| {work}, {unit} | {ours} | {beside} | {found.outcome.ratio:.2f} | {found.processor} |")
    return "\n".join(lines) + "\n"


def with_table(page: str, heading: str, table: str) -> str:
    """Return a page with the first table below a heading replaced.

    Raises:
        ValueError: the heading does not exist, or has no table below it.
    """
    pattern = re.compile(rf"(^## {re.escape(heading)}\n(?:(?!\|)[^\n]*\n)*)((?:\|[^\n]*\n)+)", re.MULTILINE)
    changed, times = pattern.subn(lambda found: found[1] + table, page, count=1)
    if not times:
        raise ValueError(f"there is no table below {heading!r}")
    return changed


def sizing(page: str, runs: Runs) -> str:
    """Return the page on deployment with the measured speed in its section on sizing; unchanged if there is none."""
    found = worst(runs, next(aim for aim in FASTEST if aim.figure == "http_16"))
    if found is None:
        return page
    speed = round(found.outcome.ours)
    core = round(found.outcome.ours / CORES)
    page = re.sub(r"(clients on the same cores: )\d+( tokens/s)", rf"\g<1>{speed}\2", page)
    page = re.sub(r"(`r` is about )\d+", rf"\g<1>{core}", page)
    speeds = f"tokens/s at `r` per core | with `r` = {core}"
    head = f"| plan | cores | memory | {speeds} | requests/s of {TOKENS} tokens, with the factor {ROOM} "
    lines = [head + f"| with `r` = {core} |", "|---" * 7 + "|"]
    for plan, cores, memory in PLANS:
        part = ROOM * cores / TOKENS
        times = "r" if cores == 1 else f"{cores} r"
        cells = (plan, cores, f"{memory} GB", times, core * cores, f"{part:.3f} r", f"{part * core:.2g}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return with_table(page, "Sizing", "\n".join(lines) + "\n")


def write(folder: Path = FOLDER, readme: Path = README, deploy: Path = DEPLOY) -> None:
    """Write the pages of all processors, the overview, the README's table and the figures of the sizing rule."""
    runs = read(folder)
    for stem, run in runs.items():
        (folder / f"{stem}.md").write_text(document(run, f"{stem}.png"), encoding="utf-8")
    (folder / "README.md").write_text(overview(runs), encoding="utf-8")
    page = with_table(readme.read_text(encoding="utf-8"), "How fast", brief(runs))
    readme.write_text(page, encoding="utf-8")
    deploy.write_text(sizing(deploy.read_text(encoding="utf-8"), runs), encoding="utf-8")


if __name__ == "__main__":
    write()
