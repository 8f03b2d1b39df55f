"""Text generation with GPT-2 models in ONNX, served by Azure Functions."""

__version__ = "0.1.0"
