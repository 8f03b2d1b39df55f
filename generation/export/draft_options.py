"""What the command lines say of draft tables. Imports nothing heavy, so that they can answer at once."""

from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

from generation.export.defaults import DRAFT_SIZE, DRAFT_TOKENS

if TYPE_CHECKING:
    from generation.export.report import Drafts


def add_draft_options(parser: ArgumentParser) -> None:
    """Add the options that decide what a draft table is made of."""
    parser.add_argument(
        "--draft-tokens",
        type=int,
        default=DRAFT_TOKENS,
        metavar="N",
        help="tokens of text to make the draft table of, from which the server guesses the next tokens; 0 = no table "
        "(default: %(default)s, about a minute for the bundled model, several for DistilGPT2)",
    )
    parser.add_argument(
        "--draft-size",
        type=int,
        default=DRAFT_SIZE,
        metavar="BYTES",
        help="bytes of the draft table at most (default: %(default)s)",
    )
    parser.add_argument(
        "--draft-text",
        type=Path,
        metavar="FILE",
        help="UTF-8 text like that which will be generated, to make the draft table of (default: the model samples it)",
    )


def draft_lines(drafts: "Drafts | None") -> list[str]:
    """Return what was measured of a draft table as lines of an export's summary."""
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
