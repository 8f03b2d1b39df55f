"""Write the report of one run of the comparison in Markdown."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.entries import BASELINE
from benchmarks.figures import COSTS, Aim, TurnLike, by_round, outcome, ratio, value

# Name of the figure, heading of its column, and number of decimal places.
SPEED = (
    ("stream", "one stream, 16 + 128 tokens", 0),
    ("four", "4 sequences, 16 + 64", 0),
    ("long", "one stream, 768 + 128", 0),
    ("batch", "16 sequences, 16 + 64", 0),
    ("bulk", "128 prompts at once, 16 + 64", 0),
    ("repetitive", "repetitive text, 32 + 128", 0),
    ("first_ms", "512-token prompt, ms", 0),
)
SAMPLED = (
    ("sampled", "one stream, 16 + 128 tokens", 0),
    ("sampled_16", "16 sequences, 16 + 64", 0),
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
    ("http_4", "4 clients, 64 tokens each", 0),
    ("http_16", "16 clients, 64 tokens each", 0),
    ("http_repetitive", "one client, repetitive text, 128 tokens", 0),
    ("http_fresh_s", "start to first token, s", 2),
    ("memory_16_mib", "memory while serving 16, MiB", 0),
)
INT8, BLOCKS, INT4, GUESSING = "ours int8", "ours int8-blocks", "ours int4", "ours int8, speculation"
# Compared with the fastest peer.
FASTEST = (
    Aim("one stream", "stream", INT8, 1.1),
    Aim("4 sequences", "four", INT8, 1.1),
    Aim("16 sequences", "batch", INT8, 1.1),
    Aim("768 + 128 tokens", "long", INT8, 1.1),
    Aim("512-token prompt to first token", "first_ms", INT8, 0.9),
    Aim("one stream, 8 bits in blocks", "stream", BLOCKS),
    Aim("4 sequences, 8 bits in blocks", "four", BLOCKS),
    Aim("768 + 128 tokens, 8 bits in blocks", "long", BLOCKS),
    Aim("one stream, 4-bit weights", "stream", INT4, 1.3),
    Aim("4 sequences, 4-bit weights", "four", INT4),
    Aim("sampled text of the bundled model, one stream", "sampled", GUESSING),
    Aim("sampled text of the bundled model, 16 sequences", "sampled_16", GUESSING),
    Aim("bulk: a file of 128 prompts", "bulk", "ours int8, batch file"),
    Aim("one stream over HTTP", "http_stream", INT8),
    Aim("4 clients over HTTP", "http_4", INT8),
    Aim("16 clients over HTTP", "http_16", INT8),
    Aim("fresh process to first token", "fresh_s", INT8),
    Aim("server's start to first token", "http_fresh_s", INT8),
    Aim("memory while serving 16", "memory_16_mib", INT8),
)
# Compared with the workshop's app, from which this project grew, with ours without speculation, or with a named peer.
BASELINES = (
    Aim("one stream over HTTP", "http_stream", INT8, 5.5, BASELINE),
    Aim("one stream over HTTP, 4-bit weights", "http_stream", INT4, 11, BASELINE),
    Aim("repetitive text over HTTP, with speculation", "http_repetitive", GUESSING, 11, BASELINE),
    Aim("repetitive text, with speculation", "repetitive", GUESSING, 2, INT8),
    Aim("sampled text of the bundled model, with speculation", "sampled", GUESSING, 1.2, INT8),
    Aim("bulk: a file of 128 prompts", "bulk", "ours int8, batch file", 0.95, INT8),
    Aim("512-token prompt to first token", "first_ms", INT8, 2, BASELINE),
    Aim("16 clients over HTTP", "http_16", INT8, 25, BASELINE),
    Aim("fresh process to first token", "fresh_s", INT8, 6, BASELINE),
    Aim("fresh process to first token", "fresh_s", INT8, 1, "llama.cpp q8_0"),
    Aim("memory while serving 16", "memory_16_mib", INT8, 3, BASELINE),
    Aim("on disk", "disk_mb", INT8, 328 / 130, "fp32 checkpoint"),
    Aim("on disk, 4-bit weights", "disk_mb", INT4, 328 / 80, "fp32 checkpoint"),
)


def labels(turns: Sequence[TurnLike]) -> list[str]:
    """Return the labels of the engines in the order of their first measurement."""
    return list(dict.fromkeys(turn["label"] for turn in turns if turn["kind"] != "machine"))


def table(turns: Sequence[TurnLike], columns: Sequence[tuple[str, str, int]]) -> str:
    """Return a table of medians, with the ratio to the workshop's app in brackets."""
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


def shown(figure: str, number: float) -> str:
    """Return a number with the unit of its figure."""
    unit = figure.rpartition("_")[2].replace("mib", "MiB").replace("mb", "MB") if figure in COSTS else "tokens/s"
    return f"{number:.{2 if unit == 's' else 0}f} {unit}"


def peer(figure: str, label: str) -> str:
    """Return the name of a peer in a row; over HTTP, `transformers` is measured in the workshop's app."""
    return "the workshop's app" if label == BASELINE and figure.startswith(("http", "memory")) else label


def aims(turns: Sequence[TurnLike], wanted: Sequence[Aim]) -> str:
    """Return the table of aims and results."""
    lines = ["| work | ours | against | ratio | aim |", "|---|---|---|---:|---:|"]
    for aim in wanted:
        found = outcome(turns, aim)
        if found is not None:
            ours, theirs = shown(aim.figure, found.ours), shown(aim.figure, found.theirs)
            least = "" if aim.at_least is None else f"{aim.at_least:.3g}x"
            cells = (
                aim.work,
                f"{aim.ours}: {ours}",
                f"{peer(aim.figure, found.against)}: {theirs}",
                f"{found.ratio:.2f}x",
                least,
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def with_sizes(results: Mapping[str, Any]) -> list[TurnLike]:
    """Return the measurements, with the sizes on disk as those of an additional round."""
    sizes = [
        {"round": 0, "label": label, "kind": "disk", "figures": {"disk_mb": [size]}}
        for label, size in results["sizes_mb"].items()
    ]
    return [*results["turns"], *sizes]


def code(machine: Mapping[str, str]) -> str:
    """Return the version and the commit that were measured."""
    return f"version {machine['version']}" + (f", commit {machine['commit']}" if machine["commit"] else "")


def document(results: Mapping[str, Any], plot: str) -> str:
    """Return the page of one processor; `plot` is the file name of its plot."""
    turns, machine = results["turns"], results["machine"]
    sizes = "".join(f"| {label} | {size:.0f} |\n" for label, size in results["sizes_mb"].items())
    missing = "".join(f"- {label}: {why}\n" for label, why in results["missing"].items())
    versions = ", ".join(f"{name} {number}" for name, number in sorted(results["versions"].items()))
    others = [100 * turn["others"] for turn in turns]
    rounds = len({turn["round"] for turn in turns})
    return f"""# Measured on {machine["processor"]}

Written by `make bench` on {machine["date"]}: {code(machine)}, on {machine["cores"]} cores of {machine["processor"]}
({machine["instructions"]}), which read {bandwidth(results):.0f} GB/s from memory. Python {machine["python"]};
{versions}.
Other processes took {median(others):.0f} % of these cores' time in the median measurement, {max(others):.0f} % at most.
Rounds: {rounds}. [How it was measured](README.md#how-it-is-measured).

## Ours and the fastest peer

{aims(with_sizes(results), FASTEST)}
## Ours and the baselines

{aims(with_sizes(results), BASELINES)}
## Engines alone, tokens/s
The ratio to `{BASELINE}`, which the workshop's pipeline calls, is in brackets; above 1 is better.

{table(turns, SPEED)}
Speculation is off unless a row names it. A model with random weights soon repeats itself, so nearly every draft is
accepted. The rows with speculation are therefore an upper bound of its gain.

![tokens per second]({plot})

One token reads every weight once, so memory bandwidth limits one stream: {bounds(results)}.
{_sampled(turns)}
## Start and memory

{table(turns, START)}
## Over HTTP, tokens/s
The clients run on the same cores as the server. Ours uses speculation only in the rows that name it.

{table(turns, HTTP)}
## On disk

| model | MB |
|---|---:|
{sizes}
{"Left out:" + chr(10) + missing if missing else "No engine was left out."}
"""


def _sampled(turns: Sequence[TurnLike]) -> str:
    """Return the section on sampled text, or an empty string if none was measured."""
    if not any(by_round(turns, label, figure) for label in labels(turns) for figure, _, _ in SAMPLED):
        return ""
    return f"""
## Sampled text of the bundled model, tokens/s
Temperature 1, `top_k` 50, from the start of a story.

{table(turns, SAMPLED)}"""


def bandwidth(results: Mapping[str, Any]) -> float:
    """Return the highest measured memory bandwidth in GB per second."""
    found = [one for turn in results["turns"] for one in turn["figures"].get("bandwidth_gb_s", [])]
    return max(found, default=float("nan"))


def bounds(results: Mapping[str, Any]) -> str:
    """Return the tokens per second that memory bandwidth allows, by engine: bandwidth over weights per token."""
    found = {name: 1000 * bandwidth(results) / size for name, size in results["weights_mb"].items()}
    return ", ".join(f"{bound:.0f} tokens/s in {name}" for name, bound in found.items())
