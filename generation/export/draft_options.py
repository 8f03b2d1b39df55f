"""Command-line options and summary lines of draft tables, without heavy imports, so that the help appears at once."""

from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

from generation.export.defaults import DRAFT_SIZE, DRAFT_TOKENS

if TYPE_CHECKING:
    from generation.export.report import Drafts


def add_draft_options(parser: ArgumentParser) -> None:
    """Add the options of a draft table to `parser`."""
    parser.add_argument(
        "--draft-tokens",
        type=int,
        default=DRAFT_TOKENS,
        metavar="N",
        help="tokens of text to learn the draft table from, which supplies draft tokens for speculation; 0 = no table "
        "(default: %(default)s, about a minute for the bundled model, several for DistilGPT2)",
    )
    parser.add_argument(
        "--draft-size",
        type=int,
        default=DRAFT_SIZE,
        metavar="BYTES",
        help="maximum size of the draft table (default: %(default)s)",
    )
    parser.add_argument(
        "--draft-text",
        type=Path,
        metavar="FILE",
        help="UTF-8 text like the text to generate, to learn the draft table from (default: sampled by the model)",
    )


def draft_lines(drafts: "Drafts | None") -> list[str]:
    """Return the measurements of a draft table as lines of the export summary."""
    if drafts is None:
        return ["  draft table               none"]
    origin = drafts.text or "its own text"
    size, seconds = f"{drafts.size / 1e6:.2f} MB", f"{drafts.seconds:.0f} s"
    return [
        f"  draft table               {size}, {drafts.tokens:,} tokens of {origin}, {seconds}",
        "    on unseen text          tokens guessed, drafts accepted, tokens a step",
        *(
            f"    temperature {one.temperature:<3.1f}         {one.guessed:.0%}, {one.accepted:,} of {one.drafted:,}, "
            f"{one.tokens_per_step:.2f} ({one.without_table:.2f} without)"
            for one in drafts.unseen
        ),
    ]
