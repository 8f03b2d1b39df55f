"""Write the report of the comparison in Markdown."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.entries import BASELINE
from benchmarks.figures import COSTS, Aim, TurnLike, outcome, ratio, value

# Name of the figure, heading of its column, and number of decimals.
SPEED = (
    ("stream", "one stream, 16 + 128 tokens", 0),
    ("long", "one stream, 768 + 128", 0),
    ("batch", "16 sequences, 16 + 64", 0),
    ("repetitive", "repetitive text, 32 + 128", 0),
    ("first_ms", "512-token prompt, ms", 0),
)
START = (
    ("import_s", "import, s", 2),
    ("load_s", "load, s", 2),
    ("token_s", "first token, s", 3),
    ("fresh_s", "whole process to first token, s", 2),
    ("peak_mib", "peak memory, MiB", 0),
)
HTTP = (
    ("http_stream", "one client, 128 tokens", 0),
    ("http_16", "16 clients, 64 tokens each", 0),
    ("http_repetitive", "one client, repetitive text, 128 tokens", 0),
    ("http_fresh_s", "start to first token, s", 2),
    ("memory_16_mib", "memory while serving 16, MiB", 0),
)
CT2 = ("CTranslate2 int8", "CTranslate2 int8, spinning")
AIMS = (
    Aim("one stream over HTTP", "http_stream", "ours int8", (BASELINE,), 5.5),
    Aim("one stream over HTTP, 4-bit weights", "http_stream", "ours int4", (BASELINE,), 11),
    Aim("repetitive text over HTTP, with speculation", "http_repetitive", "ours int8, speculation", (BASELINE,), 11),
    Aim("one stream", "stream", "ours int8", CT2, 1.1),
    Aim("one stream, 4-bit weights", "stream", "ours int4", ("llama.cpp q4_0",), 1.5),
    Aim("repetitive text, with speculation", "repetitive", "ours int8, speculation", ("ours int8",), 2),
    Aim("768 + 128 tokens", "long", "ours int8", ("OpenVINO GenAI int8, f32",), 1),
    Aim("512-token prompt to first token", "first_ms", "ours int8", (BASELINE,), 2),
    Aim("512-token prompt to first token", "first_ms", "ours int8", CT2, 0.8),
    Aim("512-token prompt to first token", "first_ms", "ours int8", ("OpenVINO GenAI int8, bf16",), None),
    Aim("16 clients over HTTP", "http_16", "ours int8", (BASELINE,), 25),
    Aim("16 sequences", "batch", "ours int8", CT2, 1.1),
    Aim("fresh process to first token", "fresh_s", "ours int8", (BASELINE,), 6),
    Aim("memory while serving 16", "memory_16_mib", "ours int8", (BASELINE,), 3),
    Aim("on disk", "disk_mb", "ours int8", ("fp32 checkpoint",), 328 / 130),
    Aim("on disk, 4-bit weights", "disk_mb", "ours int4", ("fp32 checkpoint",), 328 / 80),
)


def labels(turns: Sequence[TurnLike]) -> list[str]:
    """Return the labels of the engines in the order of their first measurement."""
    return list(dict.fromkeys(turn["label"] for turn in turns if turn["kind"] != "machine"))


def table(turns: Sequence[TurnLike], columns: Sequence[tuple[str, str, int]]) -> str:
    """Return a table of medians and, in brackets, how many times better than the workshop app they are."""
    lines = ["| engine | " + " | ".join(title for _, title, _ in columns) + " |", "|---" + "|---:" * len(columns) + "|"]
    for label in labels(turns):
        cells = []
        for figure, _, digits in columns:
            found = value(turns, label, figure)
            times = None if label == BASELINE else ratio(turns, figure, label, BASELINE)
            shown = "" if found is None else f"{found:.{digits}f}"
            cells.append(shown + (f" ({times:.1f}x)" if times is not None else ""))
        if any(cells):
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def aims(turns: Sequence[TurnLike]) -> str:
    """Return the table of aims and results."""
    lines = ["| work | ours | against | ratio | aim |", "|---|---|---|---:|---:|"]
    for aim in AIMS:
        found = outcome(turns, aim)
        if found is not None:
            unit = aim.figure.rpartition("_")[2].replace("mib", "MiB").replace("mb", "MB")
            unit = unit if aim.figure in COSTS else "tokens/s"
            digits = 2 if unit == "s" else 0
            ours, theirs = (f"{number:.{digits}f} {unit}" for number in (found.ours, found.theirs))
            wanted = "" if aim.at_least is None else f"{aim.at_least:.3g}x"
            cells = (aim.work, f"{aim.ours}: {ours}", f"{found.against}: {theirs}", f"{found.ratio:.2f}x", wanted)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def with_sizes(results: Mapping[str, Any]) -> list[TurnLike]:
    """Return the turns, with the sizes on disk as turns of an additional round."""
    sizes = [
        {"round": 0, "label": label, "kind": "disk", "figures": {"disk_mb": [size]}}
        for label, size in results["sizes_mb"].items()
    ]
    return [*results["turns"], *sizes]


def document(results: Mapping[str, Any]) -> str:
    """Return the whole report."""
    turns, machine = results["turns"], results["machine"]
    sizes = "".join(f"| {label} | {size:.0f} |\n" for label, size in results["sizes_mb"].items())
    missing = "".join(f"- {label}: {why}\n" for label, why in results["missing"].items())
    versions = ", ".join(f"{name} {number}" for name, number in sorted(results["versions"].items()))
    others = [100 * turn["others"] for turn in turns]
    rounds = len({turn["round"] for turn in turns})
    return f"""# Measured side by side

Written by `make bench` on {machine["date"]}, on {machine["cores"]} cores of {machine["processor"]}
({machine["instructions"]}), which read {bandwidth(results):.0f} GB/s from memory. Python {machine["python"]};
{versions}.
Other work took {median(others):.0f} % of these cores' time in the median turn, {max(others):.0f} % in the worst.

Every engine runs alone, in a fresh process, in turns with the others; rounds: {rounds}. Figures are medians. Ratios are
medians of the ratios within each round, so that both sides met the same minute. They travel between machines; absolute
figures do not.

All have DistilGPT2's exact size with random weights, on which speed does not depend, and continue random prompts
greedily by exactly the number of tokens asked for. Engines are set as is best for them on this many threads. Of
CTranslate2 both its default and its best setting, threads that spin while they wait, are shown. llama.cpp is built for
this processor but without AMX, with which it crashed. Each engine works for two seconds before it is measured.

## Ours and the best of each

{aims(with_sizes(results))}
## Engines alone, tokens/s
In brackets, how many times better than `{BASELINE}`, which is what the workshop's pipeline calls.

{table(turns, SPEED)}
Speculation is off except where it is named. Random weights repeat themselves so soon that nearly every guess comes
true: that line is the most that speculation can give.

![tokens per second](plot.png)

One token reads every weight once, so memory bounds one stream: {bounds(results)}.

## Start and memory

{table(turns, START)}
## Over HTTP, tokens/s
Ours under its embedded host, and the workshop's FastAPI app around the pipeline, which serves one request at a time.
The clients run on the same cores. Ours guesses ahead only where speculation is named.

{table(turns, HTTP)}
## On disk

| model | MB |
|---|---:|
{sizes}
{"Left out:" + chr(10) + missing if missing else "No engine was left out."}
"""


def bandwidth(results: Mapping[str, Any]) -> float:
    """Return the highest measured memory bandwidth in GB per second."""
    found = [one for turn in results["turns"] for one in turn["figures"].get("bandwidth_gb_s", [])]
    return max(found, default=float("nan"))


def bounds(results: Mapping[str, Any]) -> str:
    """Return the tokens per second that memory bandwidth allows, by engine: bandwidth over weights per token."""
    found = {name: 1000 * bandwidth(results) / size for name, size in results["weights_mb"].items()}
    return ", ".join(f"{bound:.0f} tokens/s in {name}" for name, bound in found.items())
