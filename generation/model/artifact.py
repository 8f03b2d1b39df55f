"""The artifact folder that the export wrote: what the run time needs to know of a model before it loads it."""

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_origin

FORMAT = 4
CHECKED_FILES = ("model.onnx", "model.onnx.data", "tokenizer.json")
# What config.json may say, so that reading an artifact takes bounded time and memory, whatever is in it.
LONGEST_CONFIG = 1 << 20
MOST = {"layers": 1024, "heads": 1024, "head_size": 4096}
LARGEST = 1 << 24
ADVICE = "export the model again, or point MODEL_DIR at another folder"


class ArtifactError(RuntimeError):
    """The artifact folder is missing, incomplete, damaged, or of another format."""


@dataclass(frozen=True, slots=True)
class ArtifactConfig:
    """What ``config.json`` says of the model. Sizes are counts; `context` is in tokens."""

    layers: int
    heads: int
    head_size: int
    vocabulary: int
    context: int
    end_of_text: int
    precision: str
    cache: str
    files: dict[str, str]
    source: dict[str, Any]

    @property
    def name(self) -> str:
        """The name to show: the last part of the hub id or folder the model came from."""
        return str(self.source.get("model", "unknown")).rstrip("/").rsplit("/", 1)[-1]


_KINDS: dict[str, Any] = {one.name: get_origin(one.type) or one.type for one in fields(ArtifactConfig)}


def read_config(folder: Path) -> ArtifactConfig:
    """Read and check ``config.json``.

    Raises:
        ArtifactError: the folder or the file is missing, or is not of the format that this version reads.
    """
    path = folder / "config.json"
    try:
        with path.open(encoding="utf-8") as file:
            raw = json.loads(file.read(LONGEST_CONFIG))
    except FileNotFoundError:
        raise ArtifactError(f"no model in {folder}: {path.name} is missing; {ADVICE}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); {ADVICE}") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        found = raw.get("format") if isinstance(raw, dict) else None
        raise ArtifactError(f"{path} has format {found!r}, this version reads format {FORMAT}; {ADVICE}")
    return ArtifactConfig(**_checked(raw, path))


def _checked(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the fields of the configuration, each of its type and within bounds."""
    values: dict[str, Any] = {one.name: raw.get(one.name) for one in fields(ArtifactConfig)}
    for one in fields(ArtifactConfig):
        value, kind = values[one.name], _KINDS[one.name]
        wrong = not isinstance(value, kind) or (kind is int and (isinstance(value, bool) or value < 0))
        if wrong:
            raise ArtifactError(f"{path}: {one.name!r} is {repr(value)[:64]}, not a valid {kind.__name__}; {ADVICE}")
        if kind is int and value > MOST.get(one.name, LARGEST):
            raise ArtifactError(f"{path}: {one.name!r} is {repr(value)[:64]}, more than any model has; {ADVICE}")
    for name, checksum in values["files"].items():
        if not isinstance(checksum, str) or Path(name).name != name:
            raise ArtifactError(f"{path}: 'files' has {name[:64]!r}, which is no file of the folder; {ADVICE}")
    for name in CHECKED_FILES:
        if not isinstance(values["files"].get(name), str):
            raise ArtifactError(f"{path} has no checksum of {name}; {ADVICE}")
    return values


def verify_files(folder: Path, config: ArtifactConfig) -> None:
    """Compare the checksum of every file of the artifact with the one that the export wrote down.

    Raises:
        ArtifactError: a file is missing or differs, as after a broken copy or download.
    """
    for name, expected in config.files.items():
        try:
            with (folder / name).open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ArtifactError(f"{folder / name} cannot be read ({error.strerror}); {ADVICE}") from None
        if actual != expected:
            raise ArtifactError(
                f"{folder / name} is damaged or belongs to another model: its sha256 is {actual[:12]}..., "
                f"config.json says {expected[:12]}...; {ADVICE}"
            )
