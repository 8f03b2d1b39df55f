"""``export``: run the exporter's own command line, which the run time never imports."""

import importlib.util
import runpy
import sys
from typing import Any

PACKAGE = "generation.export"


def register(commands: Any) -> None:
    """Add the command to the list in the help; the caller passes the arguments to `run` without parsing them."""
    commands.add_parser("export", add_help=False, help="make a model: checkpoint to artifact, verified")


def run(arguments: list[str]) -> int:
    """Run ``python -m generation.export`` in this process; return its exit status."""
    if importlib.util.find_spec(PACKAGE) is None:
        print(
            f"error: {PACKAGE} is not here: a deployed app leaves it out. Export in a clone of the project, "
            "after pip install --group export",
            file=sys.stderr,
        )
        return 2
    before = sys.argv
    sys.argv = [PACKAGE, *arguments]
    try:
        runpy.run_module(PACKAGE, run_name="__main__")
    except SystemExit as ended:
        return 0 if ended.code is None else int(ended.code)
    finally:
        sys.argv = before
    return 0
