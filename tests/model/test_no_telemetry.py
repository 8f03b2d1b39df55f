"""Loading the model leaves no trace of onnxruntime's telemetry: its identifier and its queue of events are files."""

import os
import subprocess
import sys
from pathlib import Path

from generation.config import ROOT

LOAD = """
from pathlib import Path
from generation.model.session import open_session
open_session(Path("models/demo/model.onnx"), 1)
"""
# onnxruntime reports nothing where one of these is set.
QUIET = {"ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME"}
CI = {"CI", "GITHUB_ACTIONS", "TF_BUILD"}


def test_loading_the_model_stores_no_identifier_and_no_event(tmp_path: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if name not in QUIET | CI}
    subprocess.run(
        [sys.executable, "-c", LOAD], cwd=ROOT, env={**variables, "HOME": str(tmp_path)}, check=True, timeout=60
    )
    assert list(tmp_path.rglob("*")) == []
