"""Download a checkpoint from the Hugging Face hub, compare its checksums, and explain failures."""

import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from http import HTTPStatus
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils.tqdm import disable_progress_bars
from requests import ConnectionError as RequestsConnectionError
from requests import JSONDecodeError, Response, Timeout

from generation.export.defaults import PINNED_FILES, PINNED_REVISIONS
from generation.export.errors import ExportError, in_one_line

# Files of the configuration and of all kinds of tokenizers.
SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "adapter_config.json",
)
# File patterns of weights in order of preference. Only the first kind that a repository has is downloaded.
WEIGHT_FILES = (
    ("model.safetensors",),
    ("model.safetensors.index.json", "model-*.safetensors"),
    ("pytorch_model.bin",),
    ("pytorch_model.bin.index.json", "pytorch_model-*.bin"),
)
ADAPTER_FILES = (("adapter_model.safetensors",), ("adapter_model.bin",))
WAYS_OUT = (
    "Two ways out: give a local folder with config.json, tokenizer.json and model.safetensors in place of the name "
    "(copied from a machine that has a network), or do without an export and serve the bundled model, models/demo."
)
LOG_IN = "log in (hf auth login, or a token in HF_TOKEN)"
_SHA256, _SHA1 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
_MEGABYTE = 1_000_000


def download(model: str, revision: str | None, progress: Callable[[str], None]) -> Path:
    """Download a model of the hub; return its local folder, whose name is the commit.

    Args:
        model: id of the model.
        revision: commit, tag or branch; None for the pinned commit or else the main branch.
        progress: called with a description of each stage.

    Raises:
        ExportError: the hub cannot be reached or refuses the model, or a file differs from its checksum.

    """
    revision = revision or PINNED_REVISIONS.get(model)
    if not sys.stderr.isatty():
        disable_progress_bars()
    info: ModelInfo | None = None
    try:
        info = _info(model, revision)
        if info is None:
            progress("the hub cannot be reached: looking for the model in the local cache")
            folder = Path(snapshot_download(model, revision=revision, local_files_only=True))
        else:
            names = wanted(one.rfilename for one in info.siblings or [])
            size = sum(one.size or 0 for one in info.siblings or [] if one.rfilename in names)
            amount = f"up to {size / _MEGABYTE:,.0f} MB, " if size else ""
            progress(f"downloading {model} ({amount}less what is in {constants.HF_HUB_CACHE})")
            folder = Path(snapshot_download(model, revision=revision, allow_patterns=names))
    except (OSError, ValueError) as error:
        raise ExportError(_explain(error, model, revision, reached=info is not None)) from error
    _compare(model, folder)
    return folder


def wanted(names: Iterable[str]) -> list[str]:
    """Return those of a repository's files that the export needs."""
    there = list(names)
    found = [name for name in there if name in SMALL_FILES]
    for kinds in (WEIGHT_FILES, ADAPTER_FILES):
        for kind in kinds:
            if matching := [name for name in there if any(fnmatchcase(name, pattern) for pattern in kind)]:
                found += matching
                break
    return found


def _info(model: str, revision: str | None) -> ModelInfo | None:
    """Return the hub's description of the model, or None if the hub cannot be reached."""
    try:
        # The client has no limit of its own here.
        return HfApi().model_info(model, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT, files_metadata=True)
    except (RequestsConnectionError, Timeout, OfflineModeIsEnabled) as error:
        if isinstance(error, JSONDecodeError):
            raise
        return None


def _explain(error: BaseException, model: str, revision: str | None, *, reached: bool) -> str:
    """Return in one line what is wrong and what to do; `reached` if the hub has described the model before."""
    which = f"{model} at revision {revision}" if revision else model
    causes = list(_causes(error))

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(one, kinds) for one in causes)

    refusals = [one.response for one in causes if isinstance(one, HfHubHTTPError) and one.response is not None]
    if caused_by(GatedRepoError):
        message = f"the hub's model {model} is gated: accept its terms on its page there, and {LOG_IN}"
    elif caused_by(DisabledRepoError) or any(_says_disabled(one) for one in refusals):
        message = f"the hub has disabled the model {model}: choose another"
    elif caused_by(RepositoryNotFoundError):
        message = (
            f"the hub has no public model {model}, and there is no folder of that name. If it is private, {LOG_IN}"
        )
    elif caused_by(RevisionNotFoundError):
        message = f"the hub's model {model} has no revision {revision}"
    elif refusals:
        status = refusals[0].status_code
        message = f"the hub answered {status} for {which}: {_advice(status)}"
    elif caused_by(JSONDecodeError):
        message = (
            f"{constants.ENDPOINT} answered with something that is not JSON: a proxy or a login page may be between it "
            "and this machine"
        )
    elif reached:
        message = _broken_off(error, causes[-1], which)
    elif caused_by(LocalEntryNotFoundError, RequestsConnectionError, Timeout):
        message = (
            f"the model {which} could not be had: the hub ({constants.ENDPOINT}) cannot be reached, the local cache "
            f"does not have it, and there is no folder of that name. {WAYS_OUT}"
        )
    else:
        message = f"the model {which} could not be downloaded from the hub: {in_one_line(error)}. {WAYS_OUT}"
    return message


def _broken_off(error: BaseException, cause: BaseException, which: str) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return f"the model {which} cannot be written to {constants.HF_HUB_CACHE}: {error.strerror}"
    return f"the download of {which} broke off: try again. The cause: {in_one_line(cause)}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _says_disabled(response: Response) -> bool:
    """Return whether the hub reports a disabled repository in a form that its client does not recognise."""
    says = (response.headers.get("X-Error-Code", ""), response.headers.get("X-Error-Message", ""))
    return any("disabled" in one.lower() for one in says)


def _advice(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return f"too many requests. Wait some minutes, or {LOG_IN}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "it is out of order. Try again later"
    return "it cannot be downloaded"


def _compare(model: str, folder: Path) -> None:
    """Compare each file with the checksum that the hub gave for it, and with the pinned one, if any.

    The cache of the hub's client stores each file under its checksum and links to it. The checksum is the SHA-256 of a
    large file, and the SHA-1 of a small file or of its Git object.

    Raises:
        ExportError: a file differs.
    """
    pinned = PINNED_FILES.get(model, {}) if folder.name == PINNED_REVISIONS.get(model) else {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, expected = file.relative_to(folder).as_posix(), file.resolve().name
        content = file.read_bytes() if _SHA1.fullmatch(expected) else b""
        found: set[str] = set()
        if _SHA256.fullmatch(expected) or name in pinned:
            with file.open("rb") as stream:
                found = {hashlib.file_digest(stream, "sha256").hexdigest()}
        elif _SHA1.fullmatch(expected):
            blob = b"blob %d\0" % len(content) + content
            found = {hashlib.sha1(one, usedforsecurity=False).hexdigest() for one in (content, blob)}
        if name in pinned and pinned[name] not in found:
            raise ExportError(
                f"{name} of {model} is not the one that this project was made for: its sha256 is {min(found)[:12]}..., "
                f"and {pinned[name][:12]}... is pinned"
            )
        if found and (_SHA256.fullmatch(expected) or _SHA1.fullmatch(expected)) and expected not in found:
            file.resolve().unlink()
            file.unlink()
            raise ExportError(
                f"{name} of {model} was downloaded with wrong content: its checksum is {min(found)[:12]}..., the hub "
                f"says {expected[:12]}.... It was deleted: try again"
            )
