"""Read and check an artifact: the folder of graph, weights, tokenizer and ``config.json`` that the exporter writes."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from generation.text.tokenizer import Tokenizer

FORMAT = 5
# onnxruntime's GroupQueryAttention works on heads of whole blocks of this many elements; others are padded to them.
HEAD_STEP = 8
CHECKED_FILES = ("model.onnx", "model.onnx.data", "tokenizer.json")
# The optional draft table. It changes the speed of a response, never its bytes.
DRAFTS = "drafts.bin"
# Bounds on config.json, in bytes and on its values, so that reading any file takes bounded time and memory.
LONGEST_CONFIG = 1 << 20
LONGEST_TEMPLATE = 1 << 17
MOST = {"layers": 1024, "heads": 1024, "head_size": 4096}
LARGEST = 1 << 24
ADVICE = "export the model again, or point MODEL_DIR at another folder"


class ArtifactError(RuntimeError):
    """The artifact is missing, incomplete, damaged, or of another format."""


@dataclass(frozen=True, slots=True)
class ArtifactConfig:
    """The contents of ``config.json``, which describe the model.

    Attributes:
        layers: number of transformer layers.
        heads: number of attention heads in a layer.
        head_size: length of a head's keys and values in the cache, in elements; it may be padded.
        width: length of a hidden state, in elements.
        vocabulary: number of rows of the embedding table, and length of the logits. Entries from `tokens` on are
            padding.
        tokens: token ids are below this number.
        holes: ids below `tokens` that are not tokens of the tokenizer; usually none.
        context: maximum number of tokens in a sequence, prompt included.
        ends_of_text: tokens that end a text; empty for a model that never ends one.
        begin_of_text: token to start from if the prompt is empty, or None.
        special_tokens: names of special tokens that a chat template may use, such as ``eos_token``, and their texts: a
            string, or a list of strings. Artifacts of older exporters have none.
        chat_template: Jinja template that renders the messages of a chat as a prompt; None for a model without one.
        precision: type of the weights, a key of `generation.model.embedding.ELEMENTS`.
        cache: type of the KV cache in the batch, ``float32`` or ``int8``.
        files: SHA-256 checksums by file name, in hexadecimal.
        source: where the model came from; `model` is its hub id or folder.
    """

    layers: int
    heads: int
    head_size: int
    width: int
    vocabulary: int
    tokens: int
    holes: list[int]
    context: int
    ends_of_text: list[int]
    begin_of_text: int | None
    precision: str
    cache: str
    files: dict[str, str]
    source: dict[str, Any]
    special_tokens: dict[str, Any] = field(default_factory=dict)
    chat_template: str | None = None

    @property
    def name(self) -> str:
        """The name to show: the last part of the hub id or folder that the model came from."""
        return str(self.source.get("model", "unknown")).rstrip("/").rsplit("/", 1)[-1]


_COUNTS = ("layers", "heads", "head_size", "width", "vocabulary", "tokens", "context")
_IDS = ("holes", "ends_of_text")
_OTHERS: dict[str, type] = {"precision": str, "cache": str, "files": dict, "source": dict}


def read_config(folder: Path) -> ArtifactConfig:
    """Read and check ``config.json``.

    Raises:
        ArtifactError: the folder or the file is missing, or the format is not the one that this version reads.
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
    """Return the fields of the configuration, all valid and within bounds.

    Raises:
        ArtifactError: a field is missing, invalid or out of bounds.
    """
    values: dict[str, Any] = {one.name: raw.get(one.name) for one in fields(ArtifactConfig)}
    if values["width"] is None and all(isinstance(values[name], int) for name in ("heads", "head_size")):
        values["width"] = values["heads"] * values["head_size"]  # artifacts from before heads could be padded
    values["special_tokens"] = raw.get("special_tokens", {})
    for name, value in values.items():
        if name in _COUNTS and isinstance(value, int) and value > MOST.get(name, LARGEST):
            raise ArtifactError(f"{path}: {name!r} is {repr(value)[:64]}, more than any model has; {ADVICE}")
        if not _is_valid(name, value, values):
            raise ArtifactError(f"{path}: {name!r} is {repr(value)[:64]}, which is not valid; {ADVICE}")
    for name, checksum in values["files"].items():
        if not isinstance(checksum, str) or Path(name).name != name:
            raise ArtifactError(f"{path}: 'files' has {name[:64]!r}, which is no file of the folder; {ADVICE}")
    for name in CHECKED_FILES:
        if not isinstance(values["files"].get(name), str):
            raise ArtifactError(f"{path} has no checksum of {name}; {ADVICE}")
    return values


def _is_template(value: object) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= LONGEST_TEMPLATE)


def _are_texts(value: object) -> bool:
    """Return whether a value is an object whose values are texts, or lists of texts."""
    if not isinstance(value, dict):
        return False
    lists = (one if isinstance(one, list) else [one] for one in value.values())
    return all(isinstance(text, str) for texts in lists for text in texts)


_OF_CHAT: dict[str, Callable[[object], bool]] = {"chat_template": _is_template, "special_tokens": _are_texts}


def _is_valid(name: str, value: object, values: dict[str, Any]) -> bool:
    def is_count(one: object) -> bool:
        return isinstance(one, int) and not isinstance(one, bool) and one >= 0

    def is_token(one: object) -> bool:
        return is_count(one) and is_count(values["tokens"]) and one < values["tokens"]

    if name == "width":
        heads, widest = values["heads"], values["heads"] * values["head_size"]
        return is_count(value) and widest - HEAD_STEP * heads < value <= widest and not value % heads
    if name == "tokens":
        return is_count(value) and is_count(values["vocabulary"]) and value <= values["vocabulary"]
    if name in _COUNTS:
        return is_count(value)
    if name in _IDS:
        return isinstance(value, list) and all(map(is_token, value))
    if name == "begin_of_text":
        return value is None or is_token(value)
    return _OF_CHAT[name](value) if name in _OF_CHAT else isinstance(value, _OTHERS[name])


def load_tokenizer(folder: Path, config: ArtifactConfig) -> "Tokenizer":
    """Load ``tokenizer.json``.

    Raises:
        ArtifactError: the file cannot be read, or its number of tokens differs from the model's.
    """
    from generation.text.loading import load
    from generation.text.tokenizer import TokenizerError

    try:
        return load(
            folder / "tokenizer.json",
            vocabulary=config.tokens,
            holes=config.holes,
            ends_of_text=config.ends_of_text,
            begin_of_text=config.begin_of_text,
        )
    except TokenizerError as error:
        raise ArtifactError(f"{error}; {ADVICE}") from error


def verify_files(folder: Path, config: ArtifactConfig) -> None:
    """Compare the SHA-256 of every file of the artifact with ``config.json``.

    Raises:
        ArtifactError: a file is missing or differs, for instance after an incomplete copy or download.
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
