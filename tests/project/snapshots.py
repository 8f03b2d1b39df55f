"""The snapshots of ``infra/cases``: what Azure would be sent for each case, as the Bicep compiler wrote it down."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from generation.config import ROOT

FOLDER = ROOT / "infra" / "cases"
CASES = sorted(path.name.removesuffix(".snapshot.json") for path in FOLDER.glob("*.snapshot.json"))
ON_PREMIUM = [name for name in CASES if not name.startswith("container-apps")]
ON_CONTAINER_APPS = [name for name in CASES if name.startswith("container-apps")]


def path(case: str) -> Path:
    """Return the file of a case."""
    return FOLDER / f"{case}.snapshot.json"


def resources(case: str, kind: str = "") -> list[dict[str, Any]]:
    """Return the resources of a case; with `kind`, those of that type, such as ``Microsoft.Web/sites``."""
    found: list[dict[str, Any]] = json.loads(path(case).read_text(encoding="utf-8"))["predictedResources"]
    return [one for one in found if not kind or one["type"] == kind]


def only(case: str, kind: str, name: str = "") -> dict[str, Any]:
    """Return the one resource of a type, or of a type and the last part of a name.

    Raises:
        ValueError: there is none, or more than one.
    """
    (found,) = [one for one in resources(case, kind) if not name or one["name"].split("/")[-1] == name]
    return found


def arguments(expression: str, function: str) -> list[str]:
    """Return the arguments of the first call of `function` in an ARM expression, as they are written."""
    start = expression.index(function + "(") + len(function) + 1
    depth, quoted, found = 0, False, [""]
    for character in expression[start:]:
        quoted ^= character == "'"
        if not quoted:
            depth += (character == "(") - (character == ")")
            if depth < 0:
                break
            if character == "," and depth == 0:
                found.append("")
                continue
        found[-1] += character
    return [one.strip() for one in found]


def settings(case: str, kind: str = "Microsoft.Web/sites/config") -> dict[str, str]:
    """Return the application settings that the template itself sets; expressions as they are written."""
    expression: str = only(case, kind, "appsettings")["properties"]
    words = arguments(expression, "createObject")
    return {key.strip("'"): value.strip("'") for key, value in zip(words[::2], words[1::2], strict=True)}


def strings(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Give each text in a JSON value, with the key that it stands under."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from strings(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one, key)
    elif isinstance(value, str):
        yield key, value


def is_expression(text: str) -> bool:
    """Return whether a text is an expression that Azure evaluates when it deploys."""
    return re.fullmatch(r"\[[^\[].*\]", text, re.DOTALL) is not None
