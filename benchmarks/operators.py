"""Measure the share of each kind of operator in the time of a decode step, with onnxruntime's profiler.

python -m benchmarks.operators models/demo
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import onnxruntime as ort

from generation.model.artifact import read_config
from generation.model.machine import cpu_limit
from generation.model.model import Model

STEPS = 60
WARM_UP = 10
KINDS = {
    "MatMulIntegerToFloat": "products", "QGemm": "products", "MatMulNBits": "products", "Gemm": "products",
    "GroupQueryAttention": "attention", "QuantizeLinear": "quantizing rows", "ReduceMax": "quantizing rows",
    "Abs": "quantizing rows", "LayerNormalization": "norms", "FastGelu": "GELU",
}  # fmt: skip


def _steps(model: Model, rows: int, length: int, count: int) -> list[float]:
    seconds = []
    for step in range(count):
        began = time.perf_counter()
        model.decode([[7 + row] for row in range(rows)], [length + step] * rows)
        seconds.append(time.perf_counter() - began)
    return seconds


def profile(folder: Path, rows: int, length: int) -> tuple[float, Counter[str]]:
    """Return the median seconds of a decode step without the profiler, and microseconds by operator with it."""
    config = read_config(folder)
    kinds: Counter[str] = Counter()
    with TemporaryDirectory() as scratch:
        options = ort.SessionOptions()
        options.intra_op_num_threads = cpu_limit()
        plain = Model(ort.InferenceSession(folder / "model.onnx", options), config, batch=rows)
        seconds = median(_steps(plain, rows, length, STEPS)[WARM_UP:])
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(scratch) / "profile")
        session = ort.InferenceSession(folder / "model.onnx", options)
        _steps(Model(session, config, batch=rows), rows, length, STEPS)
        for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                kinds[KINDS.get(event["args"]["op_name"], "the rest")] += event["dur"]
    return seconds, kinds


def main() -> int:
    """Run the command line: print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="artifacts")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16], help="sequences in a step")
    parser.add_argument("--length", type=int, nargs="+", default=[100, 400], help="tokens of each in the cache")
    options = parser.parse_args()
    names = list(dict.fromkeys([*KINDS.values(), "the rest"]))
    print(f"| model | sequences | tokens of each | step, ms | {' | '.join(names)} |")
    print("|---" * (len(names) + 4) + "|")
    for folder in options.folders:
        for rows in options.rows:
            for length in options.length:
                seconds, kinds = profile(folder, rows, length)
                shares = " | ".join(f"{100 * kinds[name] / kinds.total():.0f} %" for name in names)
                print(f"| {folder.name} | {rows} | {length} | {1000 * seconds:.2f} | {shares} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
