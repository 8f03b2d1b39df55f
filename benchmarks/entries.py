"""The engines to measure, and the conversions of a checkpoint to their formats, which are kept in ``.bench``."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import OURS
from generation.config import ROOT

FOLDER = ROOT / ".bench"
CHECKPOINT = FOLDER / "checkpoint"
PRECISIONS = ("fp32", "int8", "int8-blocks", "int4")
# The bundled model: its checkpoint for the peers, and the artifact that a clone serves.
DEMO = ROOT / "models" / "demo"
ALL = ("stream", "four", "long", "first_ms", "batch")
SAMPLED = ("sampled", "sampled_16")
BASELINE = "transformers fp32"
# Environment variables that make the OpenMP runtimes of CTranslate2 spin while they wait.
SPINNING = {
    "OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "100000000", "KMP_BLOCKTIME": "infinite",
}  # fmt: skip

# A model with random weights soon repeats itself, so nearly every draft would be accepted.
PLAIN = {"SPECULATE": "0", "PREFIX_CACHE_MB": "0"}


@dataclass(frozen=True, slots=True)
class Entry:
    """An engine to measure.

    Attributes:
        label: its name in the tables; those of this project begin with ``ours``.
        engine: its name for the worker.
        environment: the name of its virtual environment; ``dev`` is the one that runs the benchmark.
        model: its model, in `FOLDER`.
        workloads: its workloads.
        settings: environment variables of its process.
        kind: ``engine``, or ``sampled`` if the model is the bundled one: its start and memory do not count.
    """

    label: str
    engine: str
    environment: str
    model: str
    workloads: tuple[str, ...] = ALL
    settings: Mapping[str, str] = field(default_factory=dict)
    kind: str = "engine"

    @property
    def python(self) -> Path:
        """The Python interpreter of the engine's environment."""
        return python_of(self.environment)

    @property
    def path(self) -> Path:
        """Its model."""
        return DEMO if self.model == "demo/ours" else FOLDER / self.model


def python_of(environment: str) -> Path:
    """Return the interpreter of an environment, which may not have been made."""
    return Path(sys.executable) if environment == "dev" else FOLDER / "venv" / environment / "bin" / "python"


ENTRIES = (
    Entry("ours int8", "ours-no-speculation", "dev", "ours-int8", (*ALL, "repetitive", "bulk")),
    Entry("ours int8, speculation", "ours", "dev", "ours-int8", ("repetitive",)),
    Entry("ours int8, batch file", "batch", "dev", "ours-int8", ("bulk",), PLAIN),
    Entry("ours int8-blocks", "ours-no-speculation", "dev", "ours-int8-blocks", (*ALL, "bulk")),
    Entry("ours int4", "ours-no-speculation", "dev", "ours-int4", (*ALL, "repetitive")),
    Entry("ours int4, speculation", "ours", "dev", "ours-int4", ("repetitive",)),
    Entry("ours fp32", "ours-no-speculation", "dev", "ours-fp32"),
    Entry(BASELINE, "transformers", "dev", "checkpoint"),
    Entry("optimum fp32", "optimum", "dev", "optimum/fp32"),
    Entry("optimum int8", "optimum", "dev", "optimum/int8"),
    Entry("CTranslate2 int8", "ctranslate2", "ctranslate2", "ctranslate2"),
    Entry("CTranslate2 int8, spinning", "ctranslate2", "ctranslate2", "ctranslate2", (*ALL, "bulk"), SPINNING),
    Entry("OpenVINO GenAI int8, f32", "openvino-f32", "openvino", "openvino", (*ALL, "bulk")),
    Entry("OpenVINO GenAI int8, bf16", "openvino-bf16", "openvino", "openvino", (*ALL, "bulk")),
    Entry("llama.cpp q8_0", "llama", "llama", "llama/q8_0.gguf", (*ALL, "bulk")),
    Entry("llama.cpp q4_0", "llama", "llama", "llama/q4_0.gguf", (*ALL, "bulk")),
    # Text is sampled from the bundled model: random weights say nothing that a draft could guess.
    Entry("ours int8", "ours-no-speculation", "dev", "demo/ours", SAMPLED, kind="sampled"),
    Entry("ours int8, speculation", "ours", "dev", "demo/ours", SAMPLED, kind="sampled"),
    Entry(BASELINE, "transformers", "dev", "demo/checkpoint", SAMPLED, kind="sampled"),
    Entry("CTranslate2 int8, spinning", "ctranslate2", "ctranslate2", "demo/ctranslate2", SAMPLED, SPINNING, "sampled"),
    Entry("OpenVINO GenAI int8, f32", "openvino-f32", "openvino", "demo/openvino", SAMPLED, kind="sampled"),
    Entry("OpenVINO GenAI int8, bf16", "openvino-bf16", "openvino", "demo/openvino", SAMPLED, kind="sampled"),
    Entry("llama.cpp q8_0", "llama", "llama", "demo/llama/q8_0.gguf", SAMPLED, kind="sampled"),
)


def prepare(entries: Iterable[Entry]) -> dict[str, str]:
    """Create the missing models of the entries; return the reasons why engines cannot run, by name."""
    if not (CHECKPOINT / "model.safetensors").is_file():
        _run(sys.executable, "benchmarks.checkpoint", CHECKPOINT)
    demo = FOLDER / "demo" / "checkpoint"
    if not demo.exists():
        demo.parent.mkdir(exist_ok=True)
        demo.unlink(missing_ok=True)  # a link that a clone made before it was moved
        demo.symlink_to(DEMO / "checkpoint")
    missing: dict[str, str] = {}
    for entry in entries:
        kind = entry.model.removeprefix("demo/").split("/")[0]
        try:
            if kind.startswith("ours-"):
                _export(kind.removeprefix("ours-"))
            elif not entry.python.exists():
                missing[name_of(entry.label, entry.kind)] = "not installed (make bench-peers)"
            elif not entry.path.exists():
                _convert(entry.python, kind, demo if entry.model.startswith("demo/") else CHECKPOINT)
        except RuntimeError as error:
            missing[name_of(entry.label, entry.kind)] = f"its model could not be made: {error}"
    return missing


def name_of(label: str, kind: str) -> str:
    """Return what a job is called where it is left out."""
    return f"{label} ({kind})"


def _export(precision: str) -> None:
    """Export the artifact, again if the exporter has changed since the last time."""
    out, stamp = FOLDER / f"ours-{precision}", FOLDER / f"ours-{precision}.stamp"
    sources = sorted((ROOT / "generation" / "export").glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    if out.is_dir() and stamp.is_file() and stamp.read_text(encoding="ascii") == digest:
        return
    options = ("--precision", precision, "--name", "distilgpt2-random", "--allow-loss")
    _run(sys.executable, "generation.export", CHECKPOINT, out, "--draft-tokens", "0", *options)
    stamp.write_text(digest, encoding="ascii")


def _convert(python: Path, kind: str, checkpoint: Path) -> None:
    """Convert a checkpoint in the peer's environment, next to it; the folder is written atomically."""
    partial = checkpoint.with_name(f"{kind}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _run(python, "benchmarks.convert", kind, checkpoint, partial)
    partial.rename(checkpoint.with_name(kind))


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
        if entry.kind == "engine" and entry.label != BASELINE and not entry.label.startswith(OURS):
            model = entry.path
            found[entry.label.split(",")[0]] = _megabytes([model] if model.is_file() else model.glob("*"))
    return {label: size for label, size in found.items() if size}


def weights_mb() -> dict[str, float]:
    """Return the megabytes of weights that computing one token reads: all weights except the position table.

    int8-blocks is left out, because it reads as much as int8.
    """
    from benchmarks.checkpoint import CONTEXT, WIDTH

    sizes = {
        one: _megabytes((FOLDER / f"ours-{one}").glob("model.onnx*")) for one in PRECISIONS if one != "int8-blocks"
    }
    table = CONTEXT * WIDTH * 4 / 1e6
    return {one: size - table for one, size in sizes.items() if size}


def _megabytes(files: Iterable[Path]) -> float:
    return sum(file.stat().st_size for file in files) / 1e6
