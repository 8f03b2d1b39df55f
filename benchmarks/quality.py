"""What artifacts cost in perplexity on a text of yours: ``python -m benchmarks.quality CHECKPOINT TEXT ARTIFACT...``.

The export judges by a short text of its own; this takes the first tokens of any file, in windows of the whole context.
"""

import argparse
import json
from pathlib import Path

from generation.export import hub
from generation.export.checkpoint import load
from generation.export.serving import Serving
from generation.export.verify import perplexity


def main() -> int:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", help="folder of the checkpoint that the artifacts were made of")
    parser.add_argument("text", type=Path, help="a text file")
    parser.add_argument("artifacts", type=Path, nargs="+", help="their folders")
    parser.add_argument("--tokens", type=int, default=40_000, help="of the text (default: %(default)s)")
    options = parser.parse_args()
    checkpoint = load(hub.find(options.checkpoint, None))
    # No token is longer than a few characters on average: so much text is surely enough.
    text = options.text.read_text(encoding="utf-8")[: 16 * options.tokens]
    ids = checkpoint.tokenizer.encode(text).ids[: options.tokens]
    print(
        f"{len(ids)} tokens of {options.text.name}\n\n| artifact | precision | cache | perplexity |\n|---|---|---|---|"
    )
    for folder in options.artifacts:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        serving = Serving(folder / "model.onnx", checkpoint.shape, config["cache"])
        cost, _ = perplexity(checkpoint, serving, ids)
        row = f"| {folder.name} | {config['precision']} | {config['cache']} |"
        print(f"{row} {cost.checkpoint:.3f} -> {cost.artifact:.3f} ({cost.change:+.2%}) |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
