"""Inputs that several commands share: a text or standard input, the settings, and a model."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from generation.cli.option_types import given
from generation.cli.program import UsageError
from generation.config import Settings
from generation.errors import InvalidRequestError

if TYPE_CHECKING:
    from generation.service import Loaded, Service


def add_text(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the positional argument `text`."""
    parser.add_argument("text", metavar="TEXT", help=f"{what}; - reads it from standard input")


def read_text(text: str) -> str:
    """Return `text`, or if it is ``-``, standard input without its last line break.

    Raises:
        InvalidRequestError: the text is not UTF-8.
    """
    if text != "-":
        try:
            text.encode()
        except UnicodeEncodeError:  # bytes that Python could not decode are surrogates in the text
            raise InvalidRequestError("TEXT is not UTF-8") from None
        return text
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"stdin is not UTF-8: {error}") from None
    except OSError as error:
        raise InvalidRequestError(f"stdin cannot be read: {error.strerror}") from None


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--model``."""
    parser.add_argument("--model", type=_folder, metavar="DIR", help="folder of the model (default: MODEL_DIR)")


def _folder(text: str) -> Path:
    return Path(given(text))


def settings(model: Path | None) -> Settings:
    """Return the settings of the environment, with the folder of ``--model`` if one was given."""
    found = Settings.from_environment()
    return found if model is None else replace(found, model_dir=model.expanduser().resolve())


def loaded(service: "Service") -> "Loaded":
    """Wait until the service has loaded its model; return the model.

    Raises:
        UsageError: the artifact is missing or damaged, or the settings leave no room for it.
        NotReadyError: loading failed for another reason.
    """
    service.wait()
    if service.refused:
        raise UsageError(str(service.reason))
    return service.loaded()
