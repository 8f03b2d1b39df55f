"""Write an artifact folder atomically.

All files are written to a staging folder first. If the output does not exist, the staging folder is renamed to it. If
it exists, the old config.json is removed, the files are moved in one by one, and the new config.json comes last. A
folder with a config.json is therefore always complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from generation.export.attention import cached_size
from generation.export.errors import ExportError
from generation.model.artifact import CHECKED_FILES, DRAFTS, FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from generation.export.checkpoint import Checkpoint
    from generation.export.defaults import CacheType, Precision
    from generation.export.report import Report

MODEL, WEIGHTS, TOKENIZER = CHECKED_FILES
REPORT, CONFIG = "report.json", "config.json"
TOOLS = {"torch": "torch", "transformers": "transformers", "optimum": "optimum-onnx", "onnx": "onnx"}


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """Check that `output` can take an artifact, and yield a staging folder, which is removed at the end.

    A killed process leaves its staging folder behind, under the hidden name ``.<output>.partial-<process>``. The next
    export to the same output removes it.

    Raises:
        ExportError: the output is a file, is no complete artifact, or cannot be written.

    """
    _check(output)
    home = output if output.is_dir() else output.parent
    folder = home / f".{output.name}.partial-{os.getpid()}"
    for left in home.glob(f".{output.name}.partial-*"):
        if not _runs(left.name.rpartition("-")[2]):
            shutil.rmtree(left, ignore_errors=True)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"cannot write the artifact in {home}: {error.strerror}") from error
    try:
        yield folder
    except OSError as error:
        raise ExportError(f"cannot write the artifact in {home}: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _runs(process: str) -> bool:
    """Return whether a process with this id exists."""
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # the process of another user
        return True
    return True


def _check(output: Path) -> None:
    if not output.is_dir():
        if output.exists():
            raise ExportError(f"the output {output} is a file; it has to be a folder, or not to exist")
        return
    try:
        found: Any = json.loads((output / CONFIG).read_text(encoding="utf-8"))
        # Artifacts of older formats had fewer files.
        whole = (
            isinstance(found, dict) and "format" in found and all((output / n).is_file() for n in (MODEL, TOKENIZER))
        )
    except FileNotFoundError:
        whole = not any((output / name).exists() for name in (*CHECKED_FILES, REPORT))
    except (OSError, ValueError):
        whole = False
    if not whole:
        raise ExportError(
            f"the output {output} holds something that is not a whole artifact: an interrupted export, or another "
            "kind of folder. Remove it, or choose another output"
        )


def write_config(folder: Path, checkpoint: Checkpoint, precision: Precision, cache: CacheType) -> None:
    """Write config.json for the files in `folder`: what the run time needs, checksums, source and tool versions."""
    shape, tokens = checkpoint.shape, checkpoint.tokens
    config = {
        "format": FORMAT,
        "model_type": "gpt2",
        "layers": shape.layers,
        "heads": shape.heads,
        "head_size": cached_size(shape.head_size),
        "width": shape.width,
        "vocabulary": shape.vocabulary,
        "tokens": tokens.tokens,
        "holes": list(tokens.holes),
        "context": shape.context,
        "ends_of_text": list(tokens.ends_of_text),
        "begin_of_text": tokens.begin_of_text,
        "special_tokens": checkpoint.chat.special_tokens,
        "chat_template": checkpoint.chat.template,
        "precision": precision,
        "cache": cache,
        "files": {name: _sha256(folder / name) for name in CHECKED_FILES},
        "source": {
            "model": checkpoint.folder.name,
            "revision": checkpoint.folder.revision,
            "weights_sha256": checkpoint.weights_sha256,
        },
        "tools": {
            "python": platform.python_version(),
            **{name: version(package) for name, package in TOOLS.items()},
            "onnxruntime": version("onnxruntime"),
        },
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def list_drafts(folder: Path) -> None:
    """Name the draft table of `folder`, if it has one, in its config.json, which is replaced atomically."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config["files"].pop(DRAFTS, None)
    if (folder / DRAFTS).exists():
        config["files"][DRAFTS] = _sha256(folder / DRAFTS)
    _replace_config(folder, config)


def replace_drafts(output: Path, folder: Path) -> None:
    """Give the artifact `output` the draft table of the staging folder `folder`, or none, and the report there.

    The artifact is whole at every moment: it has no table in between.
    """
    config = json.loads((output / CONFIG).read_text(encoding="utf-8"))
    if config["files"].pop(DRAFTS, None) is not None:
        _replace_config(output, config)
    (output / DRAFTS).unlink(missing_ok=True)
    for name in (REPORT, DRAFTS):
        if (folder / name).exists():
            _sync(folder / name)
            (folder / name).replace(output / name)
    list_drafts(output)


def _replace_config(folder: Path, config: dict[str, Any]) -> None:
    new = folder / f".{CONFIG}.new"
    new.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    _sync(new)
    new.replace(folder / CONFIG)
    _sync(folder)


def write_report(folder: Path, report: Report) -> None:
    """Write report.json, the results of verification."""
    (folder / REPORT).write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")


def publish(folder: Path, output: Path) -> None:
    """Publish the finished staging folder `folder` as `output`."""
    names = [*CHECKED_FILES, *([DRAFTS] if (folder / DRAFTS).exists() else []), REPORT, CONFIG]
    for name in names:
        _sync(folder / name)
    _sync(folder)
    if not output.is_dir():
        folder.rename(output)
        _sync(output.parent)
        return
    (output / CONFIG).unlink(missing_ok=True)
    _sync(output)
    if DRAFTS not in names:
        (output / DRAFTS).unlink(missing_ok=True)
    for name in names:
        (folder / name).replace(output / name)
    _sync(output)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
