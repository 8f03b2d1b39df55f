"""Measure perplexity on your own text: ``python -m generation.export.perplexity CHECKPOINT TEXT ARTIFACT...``.

The exporter measures perplexity on a short built-in text. This command takes the first tokens of any file, in windows
of the whole context, and compares the checkpoint in PyTorch with artifacts made from it.
"""

import argparse
import sys
from pathlib import Path

from generation.export.errors import ExportError, missing_package
from generation.model.artifact import ArtifactError


def main(arguments: list[str] | None = None) -> int:
    """Print a Markdown table; return the exit status: 0, 2 for an error that the user can fix, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m generation.export.perplexity", description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", help="folder or hub id of the checkpoint that the artifacts were made from")
    parser.add_argument("text", type=Path, help="a UTF-8 text file")
    parser.add_argument("artifacts", type=Path, nargs="+", metavar="artifact", help="folder of an artifact")
    parser.add_argument("--tokens", type=int, default=40_000, help="tokens of the text (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        _print_table(options.checkpoint, options.text, options.artifacts, options.tokens)
    except ImportError as error:
        print(f"error: {missing_package(error)}", file=sys.stderr)
        return 2
    except (OSError, UnicodeDecodeError, ExportError, ArtifactError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _print_table(name: str, text: Path, artifacts: list[Path], tokens: int) -> None:
    # Imported here, because importing torch takes seconds and the help text needs none of it.
    from generation.export import hub
    from generation.export.checkpoint import load
    from generation.export.verify import open_model, perplexity

    checkpoint = load(hub.find(name))
    # Tokens have a few characters on average, so this much text is enough.
    ids = checkpoint.tokenizer.encode(text.read_text(encoding="utf-8")[: 16 * tokens]).ids[:tokens]
    if len(ids) < 2:  # noqa: PLR2004 - one to predict, and one before it
        raise ExportError(f"{text} has {len(ids)} tokens; wanted are at least 2")
    print(f"{len(ids)} tokens of {text.name}\n\n| artifact | precision | cache | perplexity |\n|---|---|---|---|")
    for folder in artifacts:
        model = open_model(folder)
        cost, _ = perplexity(checkpoint, model, ids)
        row = f"| {folder.name} | {model.config.precision} | {model.config.cache} |"
        print(f"{row} {cost.checkpoint:.3f} -> {cost.artifact:.3f} ({cost.change:+.2%}) |", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
