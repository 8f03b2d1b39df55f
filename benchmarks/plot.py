"""Plot the comparison: ``python -m benchmarks.plot RESULTS PICTURE``, in the environment with matplotlib."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import value
from benchmarks.report import bandwidth, labels

PANELS = (("stream", "one stream, tokens/s"), ("batch", "16 sequences, tokens/s"))
OURS, THEIRS, BOUND = "#1a6fb0", "#b8bcc2", "#c0392b"


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw the speed of one stream and of sixteen, and the limit that memory bandwidth sets to one stream."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    turns = results["turns"]
    names = [label for label in labels(turns) if value(turns, label, "stream") is not None][::-1]
    figure, axes = plt.subplots(1, len(PANELS), figsize=(12, 0.4 * len(names) + 1.6), sharey=True)
    for axis, (name, title) in zip(axes, PANELS, strict=True):
        medians = [value(turns, label, name) or 0.0 for label in names]
        axis.barh(names, medians, color=[OURS if label.startswith("ours") else THEIRS for label in names])
        for place, found in enumerate(medians):
            axis.text(found, place, f" {found:.0f}", va="center", fontsize=8)
        axis.set_title(title, pad=18)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.12)
    for precision, megabytes in results["weights_mb"].items():
        bound = 1000 * bandwidth(results) / megabytes
        axes[0].axvline(bound, color=BOUND, linestyle="--", linewidth=1)
        axes[0].text(bound, len(names) - 0.4, f"memory, {precision}", color=BOUND, fontsize=7, ha="center")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
