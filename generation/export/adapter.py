"""Merge a LoRA adapter, or another adapter that peft can merge, into the weights of its base model."""

import hashlib
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2LMHeadModel

from generation.export.configuration import read_json
from generation.export.errors import ExportError, in_one_line
from generation.export.tokens import quiet
from generation.export.weights import read_file

CONFIG = "adapter_config.json"
# Kinds of adapters that are put before the prompt, so there is nothing to merge.
PROMPTS = ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT", "CPT")
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# Where an adapter brings an embedding table or a head of its own, trained as a whole.
_TABLE = re.compile(r"\.(?:wte|lm_head)\.(?:modules_to_save\.(?:\w+\.)?|base_layer\.)?weight$")


def base_of(folder: Path) -> tuple[str, str | None]:
    """Return the base model of the adapter in `folder`, as a folder or a hub id, and its revision.

    Raises:
        ExportError: adapter_config.json cannot be read, or names no base model.
    """
    found = read_json(folder / CONFIG)
    base, revision = found.get("base_model_name_or_path"), found.get("revision")
    if not isinstance(base, str) or not base:
        raise ExportError(f"{folder / CONFIG} names no base model: give it as MODEL, and this folder with --adapter")
    return base, revision if isinstance(revision, str) else None


def merge(model: GPT2LMHeadModel, folder: Path, sha256: str) -> tuple[GPT2LMHeadModel, str, tuple[str, ...]]:
    """Merge the adapter in `folder` into the model, whose weights have the checksum `sha256`.

    Returns:
        The merged model, the sha256 of both weights, and notes for the user.

    Raises:
        ExportError: the adapter cannot be read, does not fit the model, is of a kind that cannot be merged, or has
            weights that are not finite.
    """
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise ExportError(f"{folder} has an {CONFIG} and no weights: none of {', '.join(WEIGHTS)}")
    kind = read_json(folder / CONFIG).get("peft_type")
    if kind in PROMPTS:
        raise ExportError(f"the adapter in {folder} is of the kind {kind}, which cannot be merged into weights")
    rows = next((len(tensor) for name, tensor in read_file(file).items() if _TABLE.search(name)), None)
    if rows is not None and rows != model.config.vocab_size:
        # Tokens were added before the training, and the adapter has their rows.
        model.resize_token_embeddings(rows, mean_resizing=False)
    merged, said = _merged(model, folder)
    for name, tensor in merged.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise ExportError(f"the adapter in {folder} is damaged: merged, {name} is not finite")
    merged.eval()
    with file.open("rb") as stream:
        both = sha256 + hashlib.file_digest(stream, "sha256").hexdigest()
    lacks = any("missing adapter keys" in one for one in said)
    notes = (f"the adapter in {folder} has no weights for some of its layers, which stay as they are",) if lacks else ()
    return merged, hashlib.sha256(both.encode()).hexdigest(), notes


def _merged(model: GPT2LMHeadModel, folder: Path) -> tuple[GPT2LMHeadModel, list[str]]:
    """Return the merged model, and the warnings of peft."""
    # Here, because only adapters need it.
    from peft import PeftModel

    try:
        with quiet(), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            wrapped: Any = PeftModel.from_pretrained(model, str(folder), local_files_only=True)
            merged: Any = wrapped.merge_and_unload()
    except Exception as error:
        # peft's exceptions for unusable adapters share no base class but Exception.
        raise ExportError(f"the adapter in {folder} cannot be merged: {in_one_line(error)}") from error
    if not isinstance(merged, GPT2LMHeadModel):
        raise ExportError(f"the adapter in {folder} makes a {type(merged).__name__} of the model: not covered")
    return merged, [str(one.message) for one in said]
