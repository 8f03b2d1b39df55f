"""Train a small GPT-2 from scratch on a text file, or fine-tune a checkpoint; the source of the bundled model.

    python -m generation.export.train corpus.txt models/demo/checkpoint
    python -m generation.export.train mine.txt models/mine/checkpoint --from models/demo/checkpoint

The text consists of documents separated by lines of ``<|endoftext|>``. The output folder gets a `transformers`
checkpoint in half precision, its tokenizer, and ``training.json`` with the hyperparameters and the score on held-out
documents.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from generation.export.errors import ExportError, missing_package
from generation.export.recipe import FINE_TUNING, SHAPE, Recipe


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status: 0, 2 for an error that the user can fix, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m generation.export.train", description=__doc__.split("\n")[0])
    parser.add_argument("text", type=Path, help="UTF-8 text, documents separated by lines of <|endoftext|>")
    parser.add_argument("output", type=Path, help="folder for the checkpoint")
    parser.add_argument(
        "--from", dest="model", metavar="MODEL", help="fine-tune this checkpoint: a folder, or an id on the hub"
    )
    gentle = asdict(FINE_TUNING)
    for name, value in asdict(Recipe()).items():
        default = f"default {value}"
        if name in SHAPE:
            default += "; with --from the checkpoint's"
        elif gentle[name] != value:
            default += f"; with --from {gentle[name]}"
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=argparse.SUPPRESS, help=default)
    parser.add_argument("--compiled", action="store_true", help="a third faster; needs a C++ compiler")
    options = vars(parser.parse_args(arguments))
    text, output, model = options.pop("text"), options.pop("output"), options.pop("model")
    compiled = options.pop("compiled")
    if model and (given := [f"--{name}" for name in SHAPE if name in options]):
        parser.error(f"{', '.join(given)}: with --from the checkpoint decides")
    try:
        corpus = text.read_text(encoding="utf-8")
        # Here, not above: the help text should not wait for torch.
        from generation.export.training_runs import fine_tune, train

        if model:
            result = fine_tune(model, corpus, output, replace(FINE_TUNING, **options), compiled=compiled)
        else:
            result = train(corpus, output, Recipe(**options), compiled=compiled)
    except ImportError as error:
        print(f"error: {missing_package(error)}", file=sys.stderr)
        return 2
    except (OSError, UnicodeDecodeError, ExportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what was saved last is kept", file=sys.stderr)
        return 130
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
