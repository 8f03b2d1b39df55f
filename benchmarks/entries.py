"""The engines to measure, and the conversions of one checkpoint to their formats, which are kept in ``.bench``."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from generation.config import ROOT

FOLDER = ROOT / ".bench"
CHECKPOINT = FOLDER / "checkpoint"
PRECISIONS = ("fp32", "int8", "int4")
ALL = ("stream", "long", "first_ms", "batch")
BASELINE = "transformers fp32"
# Environment variables that make the OpenMP runtimes of CTranslate2 spin while they wait.
SPINNING = {
    "OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "100000000", "KMP_BLOCKTIME": "infinite",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """An engine to measure: its label, its name for the worker, its environment, its model and its workloads."""

    label: str
    engine: str
    environment: str
    model: str
    workloads: tuple[str, ...] = ALL
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        """The Python interpreter of the engine's environment."""
        return Path(sys.executable) if self.environment == "dev" else FOLDER / "venv" / self.environment / "bin/python"


ENTRIES = (
    Entry("ours int8", "ours-no-speculation", "dev", "ours-int8", (*ALL, "repetitive")),
    Entry("ours int8, speculation", "ours", "dev", "ours-int8", ("repetitive",)),
    Entry("ours int4", "ours-no-speculation", "dev", "ours-int4", (*ALL, "repetitive")),
    Entry("ours int4, speculation", "ours", "dev", "ours-int4", ("repetitive",)),
    Entry("ours fp32", "ours-no-speculation", "dev", "ours-fp32"),
    Entry(BASELINE, "transformers", "dev", "checkpoint"),
    Entry("optimum fp32", "optimum", "dev", "optimum/fp32"),
    Entry("optimum int8", "optimum", "dev", "optimum/int8"),
    Entry("CTranslate2 int8", "ctranslate2", "ctranslate2", "ctranslate2"),
    Entry("CTranslate2 int8, spinning", "ctranslate2", "ctranslate2", "ctranslate2", settings=SPINNING),
    Entry("OpenVINO GenAI int8, f32", "openvino-f32", "openvino", "openvino"),
    Entry("OpenVINO GenAI int8, bf16", "openvino-bf16", "openvino", "openvino"),
    Entry("llama.cpp q8_0", "llama", "llama", "llama/q8_0.gguf"),
    Entry("llama.cpp q4_0", "llama", "llama", "llama/q4_0.gguf"),
)


def prepare(entries: Iterable[Entry]) -> dict[str, str]:
    """Create the missing models of the entries; return the reasons why engines cannot run, by label."""
    if not (CHECKPOINT / "model.safetensors").is_file():
        _run(sys.executable, "benchmarks.checkpoint", CHECKPOINT)
    missing: dict[str, str] = {}
    for entry in entries:
        kind = entry.model.split("/")[0]
        try:
            if kind.startswith("ours-"):
                _export(kind.removeprefix("ours-"))
            elif not entry.python.exists():
                missing[entry.label] = "not installed (make bench-peers)"
            elif not (FOLDER / entry.model).exists():
                _convert(entry.python, kind)
        except RuntimeError as error:
            missing[entry.label] = f"its model could not be made: {error}"
    return missing


def _export(precision: str) -> None:
    """Export the artifact, again if the exporter has changed since the last time."""
    out, stamp = FOLDER / f"ours-{precision}", FOLDER / f"ours-{precision}.stamp"
    sources = sorted((ROOT / "generation" / "export").glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    if out.is_dir() and stamp.is_file() and stamp.read_text(encoding="ascii") == digest:
        return
    options = ("--precision", precision, "--name", "distilgpt2-random", "--allow-loss")
    _run(sys.executable, "generation.export", CHECKPOINT, out, *options)
    stamp.write_text(digest, encoding="ascii")


def _convert(python: Path, kind: str) -> None:
    """Convert the checkpoint in the peer's environment; the result is written atomically."""
    partial = FOLDER / f"{kind}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    _run(python, "benchmarks.convert", kind, CHECKPOINT, partial)
    partial.rename(FOLDER / kind)


def _run(python: Path | str, module: str, *arguments: Path | str) -> None:
    print(f"preparing: {module} {' '.join(map(str, arguments))}", file=sys.stderr, flush=True)
    command = [str(python), "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"{module} failed"])[-1][:200])


def sizes_mb() -> dict[str, float]:
    """Return the size of each model on disk, in megabytes, in its engine's format."""
    found = {"fp32 checkpoint": _megabytes(CHECKPOINT.glob("*.safetensors"))}
    found |= {f"ours {one}": _megabytes((FOLDER / f"ours-{one}").glob("*")) for one in PRECISIONS}
    for entry in ENTRIES:
        model = FOLDER / entry.model
        if not entry.engine.startswith(("ours", "transformers")):
            found[entry.label.split(",")[0]] = _megabytes([model] if model.is_file() else model.glob("*"))
    return {label: size for label, size in found.items() if size}


def weights_mb() -> dict[str, float]:
    """Return the megabytes of weights that computing one token reads: all weights except the position table."""
    from benchmarks.checkpoint import CONTEXT, WIDTH

    sizes = {one: _megabytes((FOLDER / f"ours-{one}").glob("model.onnx*")) for one in PRECISIONS}
    table = CONTEXT * WIDTH * 4 / 1e6
    return {one: size - table for one, size in sizes.items() if size}


def _megabytes(files: Iterable[Path]) -> float:
    return sum(file.stat().st_size for file in files) / 1e6
