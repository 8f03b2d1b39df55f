"""Add a draft table to an artifact: ``python -m generation.export.learn_drafts ARTIFACT``.

The export makes a draft table as its last step. This command needs only the artifact and the run-time packages.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from generation.export.draft_options import add_draft_options, draft_lines
from generation.export.errors import ExportError
from generation.model.artifact import DRAFTS, ArtifactError, read_config

if TYPE_CHECKING:
    from generation.export.drafts import DraftOptions, Progress

DESCRIPTION = """\
Add or replace the draft table of an artifact: n-grams of the model's own text, from which
the server drafts the next tokens. Every draft is verified, so responses do not change.
--draft-tokens 0 removes the table. A running server keeps the table that it loaded.
"""


def main(arguments: list[str] | None = None) -> int:
    """Write the table; return the exit status: 0, 2 for an error that the user can fix, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m generation.export.learn_drafts",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="folder of an artifact with an int8 cache")
    add_draft_options(parser)
    options = parser.parse_args(arguments)
    started = time.monotonic()

    def progress(stage: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {stage} ...", file=sys.stderr, flush=True)

    try:
        from generation.export.drafts import DraftOptions

        made = DraftOptions(options.draft_tokens, options.draft_size, options.draft_text)
        lines = _learn(options.artifact, made, progress)
    except (ExportError, ArtifactError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the artifact is unchanged", file=sys.stderr)
        return 130
    print("\n".join(lines))
    return 0


def _learn(output: Path, options: "DraftOptions", progress: "Progress") -> list[str]:
    from generation.export import artifact
    from generation.export.drafts import learn

    options.check()
    config = read_config(output)
    if config.cache != "int8":
        raise ExportError(f"{output} has a {config.cache} cache: the server drafts only with an int8 cache")
    with artifact.staging(output) as folder:
        drafts = learn(output, folder / DRAFTS, options, progress) if options.tokens else None
        report = output / artifact.REPORT
        if report.exists():
            found = json.loads(report.read_text(encoding="utf-8"))
            found["drafts"] = asdict(drafts) if drafts else None
            (folder / artifact.REPORT).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        artifact.replace_drafts(output, folder)
    return draft_lines(drafts)


if __name__ == "__main__":
    raise SystemExit(main())
