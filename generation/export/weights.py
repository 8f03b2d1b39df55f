"""Read the weights of a checkpoint in any of the usual file formats and naming schemes, and check them.

Files are searched in the order of `transformers`: one safetensors file, several, one pickle, several pickles. From a
pickle, `torch.load(weights_only=True)` reads only tensors and runs no code.
"""

import hashlib
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from generation.export.configuration import read_json
from generation.export.errors import ExportError, in_one_line

Tensors = dict[str, torch.Tensor]

WHOLE, PARTS = ("model.safetensors", "pytorch_model.bin"), ".index.json"
HEAD, TABLE = "lm_head.weight", "transformer.wte.weight"
# Prefixes that data-parallel training, `torch.compile` and peft add to names.
_PREFIXES = re.compile(r"^(?:module\.|_orig_mod\.|base_model\.model\.|model\.)+")
# Starts of the names in a file that was saved without the language model head.
_BARE = re.compile(r"^(?:h\.\d+|wte|wpe|ln_f)\.")
# Attention masks, which older versions of `transformers` saved, and the second head of GPT2DoubleHeadsModel.
_NOT_NEEDED = re.compile(r"^transformer\.h\.\d+\.attn\.(?:bias|masked_bias)$|^multiple_choice_head\.")
_VARIANT = re.compile(r"^model\.[a-z0-9]+\.safetensors$")
_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Weights:
    """Tensors in float32 by the names of `GPT2LMHeadModel`, and the SHA-256 of their files."""

    tensors: Tensors
    sha256: str


def read_weights(path: Path, config: GPT2Config, *, allow_unread: bool = False) -> Weights:
    """Read the weights in the folder `path` that `config` requires.

    Args:
        path: folder of the checkpoint.
        config: its configuration.
        allow_unread: whether to accept tensors that the model does not use.

    Raises:
        ExportError: weights are missing, unreadable, of wrong shapes, not finite or unused.
    """
    files = find_files(path)
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    tensors = _named(path, files)
    _check(path, tensors, config, allow_unread=allow_unread)
    return Weights({name: tensor.float() for name, tensor in tensors.items()}, digest.hexdigest())


def find_files(path: Path) -> list[Path]:
    """Return the files of weights in the folder `path`.

    Raises:
        ExportError: there are none, or a part is missing.
    """
    for name in WHOLE:
        if (whole := path / name).is_file():
            return [whole]
        if (index := path / f"{name}{PARTS}").is_file():
            return _parts(index)
    variants = [one for one in sorted(path.glob("model.*.safetensors")) if _VARIANT.match(one.name)]
    if len(variants) == 1:
        return variants
    others = sorted(one.name for kind in ("h5", "msgpack", "gguf", "ckpt", "pt") for one in path.glob(f"*.{kind}"))
    found = f"; {others[0]} is of a kind that is not read" if others else ""
    raise ExportError(
        f"{path} has no weights: none of {', '.join(WHOLE)} and their parts{found}. Save the model there with "
        "save_pretrained()"
    )


def _parts(index: Path) -> list[Path]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(
        isinstance(one, str) and Path(one).name == one for one in places.values()
    ):
        raise ExportError(f"{index} cannot be read: its weight_map does not name files beside it")
    files = [index.parent / name for name in sorted(set(places.values()))]
    if missing := [file.name for file in files if not file.is_file()]:
        raise ExportError(f"{index} names {len(files)} files of weights, and {', '.join(missing)} is missing")
    return files


def _named(path: Path, files: list[Path]) -> Tensors:
    tensors: Tensors = {}
    for name, tensor in (item for file in files for item in read_file(file).items()):
        own = _PREFIXES.sub("", name)
        own = f"transformer.{own}" if _BARE.match(own) else own
        if _NOT_NEEDED.match(own):
            continue
        if own in tensors and not torch.equal(tensors[own], tensor):
            raise ExportError(f"the weights in {path} hold {own} twice, with different values")
        tensors[own] = tensor
    return tensors


def read_file(file: Path) -> Tensors:
    """Return the tensors in one file of weights, by the names there.

    Raises:
        ExportError: it cannot be read, or holds something else.
    """
    with file.open("rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise ExportError(f"{file} is a pointer of Git LFS, not the file itself: run git lfs pull in its folder")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ExportError(
            f"{file} cannot be read as tensors alone: it is damaged, or holds objects that could run code. Load it "
            "where you trust it, and save the model again with save_pretrained()"
        ) from error
    except (OSError, ValueError, RuntimeError, EOFError, SafetensorError) as error:
        raise ExportError(f"the weights in {file} cannot be read: {in_one_line(error)}") from error
    if not isinstance(found, Mapping) or not all(isinstance(one, torch.Tensor) for one in found.values()):
        raise ExportError(f"{file} is not a dictionary of tensors: save the model again with save_pretrained()")
    return dict(found)


def _check(path: Path, tensors: Tensors, config: GPT2Config, *, allow_unread: bool) -> None:
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in GPT2LMHeadModel(config).state_dict().items()}
    if config.tie_word_embeddings:
        del wanted[HEAD]
        # `transformers` ties the head to the table, so a copy of the table is not an unused tensor.
        if HEAD in tensors and TABLE in tensors and torch.equal(tensors[HEAD], tensors[TABLE]):
            del tensors[HEAD]
    unread = sorted(set(tensors) - set(wanted))
    if packed := [name for name in tensors if tensors[name].dtype not in _TYPES and name in wanted]:
        raise ExportError(
            f"{path} is quantized: {packed[0]} holds {tensors[packed[0]].dtype}, not floating point of 16 bits or more"
        )
    if missing := sorted(set(wanted) - set(tensors)):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        message = f"the weights in {path} lack {missing[0]}{more}"
        raise ExportError(f"{message}; there is {unread[0]} that nothing reads" if unread else message)
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            raise ExportError(
                f"the weights in {path} do not fit config.json: {name} has shape {list(tensors[name].shape)}, "
                f"wanted is {list(shape)}"
            )
    if unread and not allow_unread:
        raise ExportError(_unread(path, unread))
    for name in unread:
        del tensors[name]
    for name, problem in _not_finite(tensors):
        raise ExportError(f"the weights in {path} are damaged: {name} holds {problem}")


def _unread(path: Path, names: list[str]) -> str:
    reason = ""
    if any(name.startswith(("score.", "classifier.")) for name in names):
        reason = ": it is a classifier, not a language model"
    elif any(".lora_" in name for name in names):
        reason = ": a LoRA adapter that is not merged, which belongs into a folder of its own"
    elif names == [HEAD]:
        reason = ": config.json ties the head to the embedding (tie_word_embeddings)"
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"nothing reads {names[0]}{more} in {path}{reason}. --allow-unread exports the model without them"


def _not_finite(tensors: Tensors) -> Iterator[tuple[str, str]]:
    for name, tensor in tensors.items():
        if wrong := int((~torch.isfinite(tensor)).sum()):
            kind = "NaN" if bool(torch.isnan(tensor).any()) else "infinity"
            yield name, f"{kind} ({wrong} of {tensor.numel()} numbers are not finite)"
