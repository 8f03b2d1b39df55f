"""Text generation with GPT-2 models in ONNX, served by Azure Functions."""

import os

__version__ = "0.1.0"

# onnxruntime's builds report their use to Microsoft unless this is set before they are loaded: SECURITY.md.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
