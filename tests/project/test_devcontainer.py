"""The development container has the Python of the image."""

import json
import re

from generation.config import ROOT


def test_the_development_container_has_the_python_of_the_image() -> None:
    image = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))["image"]
    base = re.findall(
        r"^ARG BASE_IMAGE=\S+-python([\d.]+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert re.findall(r"/python:([\d.]+)-", image) == base
