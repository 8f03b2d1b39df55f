"""Text generation with GPT-2 models in ONNX, served by Azure Functions."""

import os

# The one place of the version: the wheel, /api/version, the metrics and the documentation follow it.
__version__ = "0.2.0"

# onnxruntime's builds report their use to Microsoft unless this is set before they are loaded: SECURITY.md.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
