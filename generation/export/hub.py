"""Find a checkpoint: in a local folder, or on the Hugging Face hub at a known commit."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from generation.export.adapter import CONFIG as ADAPTER_CONFIG
from generation.export.adapter import base_of
from generation.export.download import download
from generation.export.errors import ExportError
from generation.export.weights import find_files

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Folder:
    """A checkpoint on this machine.

    Attributes:
        path: its folder.
        name: name to serve the model by.
        revision: commit on the hub; None for a local folder.
        adapter: folder of an adapter to merge, or None.
    """

    path: Path
    name: str
    revision: str | None
    adapter: Path | None = None


def find(
    model: str, revision: str | None = None, *, adapter: str | None = None, progress: Progress = lambda _: None
) -> Folder:
    """Return the folder of `model`; download it if `model` is the id of a model on the hub.

    If `model` is an adapter, the result is its base model, with the adapter. An `adapter`, a folder or a hub id, can
    also be given separately.

    Raises:
        ExportError: there is no such folder or model, or the hub cannot be reached.

    """
    found = _find(model, revision, progress)
    if adapter is not None:
        other = _find(adapter, None, progress)
        if not (other.path / ADAPTER_CONFIG).is_file():
            raise ExportError(f"{adapter} is not an adapter: it has no {ADAPTER_CONFIG}")
        return replace(found, name=other.name, adapter=other.path)
    if not (found.path / ADAPTER_CONFIG).is_file():
        return found
    return _base(found, progress)


def _base(adapter: Folder, progress: Progress) -> Folder:
    base, revision = base_of(adapter.path)
    if _has_weights(adapter.path) and (adapter.path / "config.json").is_file():
        if not Path(base).is_dir() or Path(base).resolve() != adapter.path.resolve():
            raise ExportError(
                f"{adapter.name} holds whole weights and an adapter of {base}, and it is not clear which is meant: "
                f"remove {ADAPTER_CONFIG} if the adapter is merged, or give its base as MODEL and the adapter with "
                "--adapter"
            )
        return replace(adapter, adapter=adapter.path)
    progress(f"getting {base}, the model that the adapter was trained on")
    return replace(_find(base, revision, progress), name=adapter.name, adapter=adapter.path)


def _has_weights(path: Path) -> bool:
    try:
        return bool(find_files(path))
    except ExportError:
        return False


def _find(model: str, revision: str | None, progress: Progress) -> Folder:
    path = Path(model).expanduser()
    if path.is_dir():
        if revision is not None:
            raise ExportError(f"{model} is a local folder, which has no revisions: leave out the revision {revision}")
        return Folder(path, path.resolve().name, None)
    if path.exists():
        raise ExportError(f"{model} is a file; a checkpoint is a folder (config.json, tokenizer.json, *.safetensors)")
    if path.is_absolute() or model.startswith(".") or model.count("/") > 1 or "\\" in model:
        raise ExportError(f"there is no folder {model}")
    found = download(model, revision, progress)
    return Folder(found, model, found.name)
