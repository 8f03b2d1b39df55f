"""Run one engine in a separate process, in its environment: ``python -m benchmarks.worker ENGINE MODEL``.

Input and output are lines of JSON. The first line of output follows the engine's first token. It has the seconds of
importing, loading and that token, and the versions of the engine's packages. Then every line of standard input requests
a workload (``{"workload": "stream", "seed": 1, "most": null}``), and the line of output has its ``value``.
"""

import json
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.engines import llama, ours, peers
from benchmarks.engines.base import SETTLE_S, STORY, WORKLOADS, Engine, Maker, Workload, peak_mib

# Packages of each engine: imported before the engine is created, to time the import separately; then those to name
# with their version.
_OURS = (
    "generation.service", "generation.engine.engine", "generation.model.model", "generation.text.tokenizer",
)  # fmt: skip
IMPORTS = {
    "ours": _OURS,
    "batch": _OURS,
    "transformers": ("torch", "transformers"),
    "optimum": ("torch", "optimum.onnxruntime"),
    "ctranslate2": ("ctranslate2",),
    "openvino": ("openvino_genai",),
    "llama": ("llama_cpp",),
}
PACKAGES = {
    "ours": ("onnxruntime",),
    "batch": ("onnxruntime",),
    "transformers": ("torch", "transformers"),
    "optimum": ("onnxruntime", "optimum-onnx"),
    "ctranslate2": ("ctranslate2",),
    "openvino": ("openvino-genai",),
    "llama": ("llama-cpp-python",),
}
ENGINES: dict[str, Maker] = {
    "ours": ours.Ours,
    "batch": ours.BatchFile,
    "ours-no-speculation": lambda folder: ours.Ours(folder, speculate=0),
    "transformers": peers.Transformers,
    "optimum": peers.Optimum,
    "ctranslate2": peers.CTranslate2,
    "openvino-f32": lambda folder: peers.OpenVino(folder, "f32"),
    "openvino-bf16": lambda folder: peers.OpenVino(folder, "bf16"),
    "llama": llama.LlamaCpp,
}
WARM_UP = 2


def main() -> None:
    """Load the engine, then run the requested workloads."""
    name, model = sys.argv[1], Path(sys.argv[2])
    family = name.split("-")[0]
    began = time.perf_counter()
    for module in IMPORTS[family]:
        import_module(module)
    imported = time.perf_counter()
    engine = ENGINES[name](model)
    loaded = time.perf_counter()
    engine.generate([STORY], 1)  # every model has these ids
    ended = time.perf_counter()
    times = {"import_s": imported - began, "load_s": loaded - imported, "token_s": ended - loaded}
    tell(figures=times, versions={package: version(package) for package in PACKAGES[family]})
    warm = set[str]()
    for line in sys.stdin:
        asked = json.loads(line)
        workload = WORKLOADS[asked["workload"]]
        if not warm and asked["most"] is None:
            settle(engine, workload)
        if asked["workload"] not in warm:
            # Creating buffers of this shape, which happens once, is excluded from the measurement.
            warm.add(asked["workload"])
            workload.measure(engine, 0, WARM_UP)
        tell(value=workload.measure(engine, asked["seed"], asked["most"]), peak_mib=peak_mib())


def settle(engine: Engine, workload: Workload) -> None:
    """Run until the operating system has placed the engine's threads on separate processors."""
    until = time.perf_counter() + SETTLE_S
    workload.measure(engine, 0)
    while time.perf_counter() < until:
        workload.measure(engine, 0)


def tell(**found: Any) -> None:
    """Write one line of JSON."""
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
