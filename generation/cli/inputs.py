"""What several commands take: a text or stdin, and the folder of a model."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from generation.config import Settings
from generation.errors import InvalidRequestError


def add_text(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the positional argument `text`."""
    parser.add_argument("text", metavar="TEXT", help=f"{what}; - reads it from stdin")


def read_text(given: str) -> str:
    """Return the text that was given, or stdin without its last line break.

    Raises:
        InvalidRequestError: stdin is not UTF-8.
    """
    if given != "-":
        return given
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"stdin is not UTF-8: {error}") from None


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--model``."""
    parser.add_argument("--model", type=Path, metavar="DIR", help="folder of the model (default: MODEL_DIR)")


def settings(model: Path | None) -> Settings:
    """Return the settings of the environment, with the folder of ``--model`` if one was given."""
    found = Settings.from_environment()
    return found if model is None else replace(found, model_dir=model.expanduser().resolve())
