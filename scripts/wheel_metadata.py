"""Complete the metadata of the wheel with a hook of hatchling, so that each list of packages is in one place.

The dependencies are the lines of requirements.in. The extras are the dependency groups of the same names, because pip
cannot install the groups of a wheel.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

EXTRAS = ("completion", "export", "tracing")


class WheelMetadata(MetadataHookInterface):
    """The metadata hook that hatchling finds in this file."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the dependencies and the extras to `metadata`."""
        root = Path(self.root)
        lines = (root / "requirements.in").read_text(encoding="utf-8").splitlines()
        metadata["dependencies"] = [line for line in lines if re.match(r"\w", line)]
        groups = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
        metadata["optional-dependencies"] = {name: groups[name] for name in EXTRAS}
