"""Parse the command line of the exporter, ``python -m generation.export``, and print what it measured."""

import argparse
import sys
import time
from pathlib import Path

from generation.export.defaults import CACHE_TYPES, DEFAULT_MODEL, DEFAULT_PRECISION, PRECISIONS
from generation.export.draft_options import add_draft_options, draft_lines
from generation.export.errors import ExportError, missing_package

DESCRIPTION = """\
Turn a GPT-2 checkpoint into an artifact that the server can run, and prove it right.

The checkpoint is loaded, exported, written as a graph made for serving, and measured
against PyTorch. The output folder (model.onnx, model.onnx.data, tokenizer.json, config.json,
report.json, and drafts.bin for speculation) is written atomically. The model can be
DistilGPT2, GPT-2 of any size, your own fine-tuned version, or a LoRA adapter of one, which
is merged: docs/models.md.
"""
EXAMPLES = """\
examples:
  python -m generation.export
        DistilGPT2 from the hub, at the commit this project was made for, to models/distilgpt2
  python -m generation.export openai-community/gpt2 models/gpt2 --revision main
        another model of the hub
  python -m generation.export ./my-checkpoint models/mine --precision fp32
        a local folder, nothing downloaded, in full precision

then serve it:
  make run MODEL_DIR=models/distilgpt2
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the export; return the exit status: 0, 2 for an error that the user can fix, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    output = options.output or Path("models") / Path(options.adapter or options.model).resolve().name
    started = time.monotonic()

    def progress(stage: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {stage} ...", file=sys.stderr, flush=True)

    try:
        # Imported here, because importing torch takes seconds and the help text needs none of it.
        progress("loading torch, transformers and optimum")
        from generation.export.drafts import DraftOptions
        from generation.export.pipeline import export

        report = export(
            options.model,
            output,
            options.precision,
            cache=options.cache,
            revision=options.revision,
            name=options.name,
            adapter=options.adapter,
            allow_loss=options.allow_loss,
            allow_unread=options.allow_unread,
            drafts=DraftOptions(options.draft_tokens, options.draft_size, options.draft_text),
            progress=progress,
        )
    except ImportError as error:
        print(f"error: {missing_package(error)}", file=sys.stderr)
        return 2
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the output is as it was", file=sys.stderr)
        return 130
    if options.json:
        print((output / "report.json").read_text(encoding="utf-8"))
        return 0
    print(f"{output}: {report.precision}, {time.monotonic() - started:.0f} s")
    print(f"  largest logit difference  {report.largest_logit_difference:.2g}")
    print(f"  greedy agreement          {report.greedy.agreement:.1%} of {report.greedy.steps} steps")
    before, after, change = report.perplexity.checkpoint, report.perplexity.artifact, report.perplexity.change
    print(f"  perplexity                {before:.2f} -> {after:.2f} ({change:+.2%})")
    print("\n".join(draft_lines(report.drafts)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m generation.export",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        nargs="?",
        default=DEFAULT_MODEL,
        metavar="MODEL",
        help=f"a folder with a checkpoint, or the id of a model on the Hugging Face hub (default: {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "output",
        nargs="?",
        type=Path,
        metavar="OUT",
        help="folder for the artifact; one that is there is replaced (default: models/<name of the model>)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=DEFAULT_PRECISION,
        help="int8: a quarter of the size, several times as fast, nearly the same text; int8-blocks: same size and "
        "fidelity, faster for a few streams on processors without AMX; int4: a sixth, fastest "
        "for one stream, slower for many, further from the checkpoint; fp32: exactly its text "
        f"(default: {DEFAULT_PRECISION})",
    )
    parser.add_argument(
        "--cache",
        choices=CACHE_TYPES,
        help="keys and values of running sequences; int8 is a quarter of the memory and needed for speculation "
        "(default: int8, for fp32 float32)",
    )
    parser.add_argument(
        "--revision",
        metavar="R",
        help="commit, tag or branch on the hub (default: a pinned commit for DistilGPT2, main for others)",
    )
    parser.add_argument(
        "--adapter",
        metavar="A",
        help="a folder or hub id with a LoRA adapter to merge (default: none, or MODEL itself where it is one)",
    )
    parser.add_argument("--name", help="name to serve the model by (default: its hub id, or the name of its folder)")
    parser.add_argument(
        "--allow-loss",
        action="store_true",
        help="keep an artifact that costs more perplexity than its precision may (int8 3 %%, int4 10 %%)",
    )
    parser.add_argument(
        "--allow-unread",
        action="store_true",
        help="leave out weights that the model does not use, such as the head of a classifier",
    )
    add_draft_options(parser)
    parser.add_argument("--json", action="store_true", help="print report.json instead of its figures in words")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
