"""Draw the plots of docs/scale.md: ``python -m benchmarks.scale.plot CURVES SIMULATION FOLDER``; needs matplotlib."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scale.curves import medians, select
from benchmarks.scale.points import PEAK, ROWS, START_S

TWO, ONE, THIRD = "#1a6fb0", "#b0581a", "#3a8f4d"
Measured = Mapping[str, Any]


def machine(points: Sequence[Measured], path: Path) -> None:
    """Draw the measurements of one machine."""
    figure, axes = _figure(2, 3)
    for cores, colour in ((2, TWO), (1, ONE)):
        found = select(points, "clients", cores=cores)
        label = f"{cores} core" + "s" * (cores - 1)
        _line(axes[0][0], found, "clients", "tokens_s", colour, label)
        _line(axes[0][1], found, "clients", "first_p50_ms", colour, f"{label}, median")
        _line(axes[0][1], found, "clients", "first_p99_ms", colour, f"{label}, 99 %", dashed=True)
        alone = select(points, "prompts", cores=cores, clients=1)
        _line(axes[0][2], alone, "prompt", "first_p50_ms", colour, label)
    for clients, colour in ((1, TWO), (ROWS, ONE)):
        found = select(points, "prompts", cores=2, clients=clients)
        _line(axes[1][0], found, "prompt", "gap_p50_ms", colour, f"{clients} at a time")
    rows = select(points, "rows")
    _line(axes[1][1], rows, "rows", "memory_mib", TWO, "")
    _line(axes[1][2], rows, "rows", "tokens_s", TWO, "")
    titles = (
        ("tokens/s by clients", "first token, ms, by clients", "first token, ms, by prompt tokens"),
        ("gap of tokens, ms, by prompt tokens", "memory, MiB, by rows", "tokens/s by rows"),
    )
    for line, names in zip(axes, titles, strict=True):
        for axis, name in zip(line, names, strict=True):
            axis.set_title(name, fontsize=10)
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter(_plain())
    axes[0][1].set_yscale("log")
    axes[0][1].yaxis.set_major_formatter(_plain())
    _save(figure, axes, path)


def fleet(cases: Sequence[Measured], path: Path) -> None:
    """Draw the time to the first token and the cost by offered load."""
    figure, axes = _figure(1, 2)
    for plan, colour in (("Container Apps", TWO), ("Premium", ONE)):
        for peak, dashed, shape in ((1.0, False, "steady"), (PEAK, True, "bursts")):
            kind = (plan, peak, 0, 1, START_S)
            names = ("plan", "peak", "always", "prewarmed", "start_s")
            found = [one for one in cases if tuple(one[name] for name in names) == kind]
            _line(axes[0][0], found, "rate", "first_p99_s", colour, f"{plan}, {shape}", dashed=dashed)
            _line(axes[0][1], found, "rate", "hours", colour, f"{plan}, {shape}", dashed=dashed)
        ready = [one for one in cases if one["plan"] == plan and one["always"]]
        label, dashed = f"{plan}, bursts, ready for them", plan == "Premium"
        _line(axes[0][0], ready, "rate", "first_p99_s", THIRD, label, dashed=dashed)
        _line(axes[0][1], ready, "rate", "hours", THIRD, label, dashed=dashed)
    for axis, name in zip(axes[0], ("first token, s, 99 %", "instance hours an hour"), strict=True):
        axis.set_title(f"{name}, by requests/s", fontsize=10)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.xaxis.set_major_formatter(_plain())
        axis.yaxis.set_major_formatter(_plain())
    _save(figure, axes, path)


def _figure(rows: int, columns: int) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 3.2 * rows), squeeze=False)
    return figure, axes


def _line(axis: Any, found: Sequence[Measured], x: str, y: str, *look: str, dashed: bool = False) -> None:
    """Plot the figure `y` by `x`; `look` is a colour and a label."""
    colour, label = look
    found = sorted(found, key=lambda one: one[x])
    style = "--" if dashed else "-"
    axis.plot([one[x] for one in found], [one[y] for one in found], style, marker="o", ms=3, color=colour, label=label)


def _plain() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{value:g}")


def _save(figure: Any, axes: Any, path: Path) -> None:
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        if len(axis.lines) > 1:
            axis.legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    measured, simulated = (json.loads(Path(one).read_text(encoding="utf-8")) for one in sys.argv[1:3])
    machine(medians(measured["points"]), Path(sys.argv[3]) / "one-machine.png")
    fleet(simulated["cases"], Path(sys.argv[3]) / "fleet.png")
