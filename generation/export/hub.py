"""Where a checkpoint comes from: a local folder, or the Hugging Face hub at a known commit."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from generation.export.defaults import PINNED_REVISIONS
from generation.export.errors import ExportError

WANTED_FILES = [
    "config.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "model*.safetensors",
    "model.safetensors.index.json",
]
WAYS_OUT = (
    "Two ways out: give a local folder with config.json, tokenizer.json and model.safetensors in place of the name "
    "(copied from a machine that has a network), or do without an export and serve the bundled model, models/demo."
)


@dataclass(frozen=True, slots=True)
class Folder:
    """A checkpoint on this machine. `revision` is the hub's commit, None for a local folder."""

    path: Path
    name: str
    revision: str | None


def find(model: str, revision: str | None = None) -> Folder:
    """Return the folder that `model` names, downloading it where it is the id of a model on the hub.

    Raises:
        ExportError: there is no such folder or model, or the hub cannot be reached.

    """
    path = Path(model).expanduser()
    if path.is_dir():
        if revision is not None:
            raise ExportError(f"{model} is a local folder, which has no revisions: leave out the revision {revision}")
        return Folder(path, path.resolve().name, None)
    if path.exists():
        raise ExportError(f"{model} is a file; a checkpoint is a folder (config.json, tokenizer.json, *.safetensors)")
    if path.is_absolute() or model.startswith(".") or model.count("/") > 1 or "\\" in model:
        raise ExportError(f"there is no folder {model}")
    return _download(model, revision or PINNED_REVISIONS.get(model))


def _download(model: str, revision: str | None) -> Folder:
    which = f"{model} at revision {revision}" if revision else model
    try:
        path = Path(snapshot_download(model, revision=revision, allow_patterns=WANTED_FILES))
    except RepositoryNotFoundError as error:
        raise ExportError(f"the hub has no public model {model}, and there is no folder of that name") from error
    except RevisionNotFoundError as error:
        raise ExportError(f"the hub's model {model} has no revision {revision}") from error
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ExportError(
            f"the model {which} could not be had from the hub, and there is no folder of that name. {WAYS_OUT} "
            f"(What the hub client said: {reason})"
        ) from error
    # The hub's cache keeps each commit in a folder of its own, named by the commit.
    return Folder(path, model, path.name)
