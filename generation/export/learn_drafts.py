"""Give an artifact a draft table: ``python -m generation.export.learn_drafts ARTIFACT``.

The export makes one as its last step. This command needs only the artifact and the packages of the run time.
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
Give an artifact a draft table, or another one: n-grams of the model's own text, from which
the server guesses the next tokens. Every guess is verified, so that no answer changes.
--draft-tokens 0 removes the table. A running server keeps the one that it has.
"""


def main(arguments: list[str] | None = None) -> int:
    """Write the table; return the exit status: 0, 2 for what the user can mend, 130 for Ctrl-C."""
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
        print("stopped; the artifact is as it was", file=sys.stderr)
        return 130
    print("\n".join(lines))
    return 0


def _learn(output: Path, options: "DraftOptions", progress: "Progress") -> list[str]:
    from generation.export import artifact
    from generation.export.drafts import learn

    options.check()
    config = read_config(output)
    if config.cache != "int8":
        raise ExportError(f"{output} has a cache of {config.cache}: the server drafts only where it is int8")
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
