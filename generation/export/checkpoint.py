"""Read a GPT-2 checkpoint and refuse, with a reason, what the serving graph cannot stand for."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

from generation.export.errors import ExportError
from generation.export.graph import Shape
from generation.export.hub import Folder

# One formula under three names: the tanh approximation of GELU (Hendrycks and Gimpel 2016).
ACTIVATIONS = ("gelu_new", "gelu_fast", "gelu_pytorch_tanh")
END_OF_TEXT = "<|endoftext|>"
# onnxruntime's GroupQueryAttention works on whole blocks of this many elements.
HEAD_STEP = 8


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint: float32 weights on the CPU, in evaluation mode."""

    folder: Folder
    model: GPT2LMHeadModel
    tokenizer: Tokenizer
    shape: Shape
    end_of_text: int
    weights_sha256: str


def load(folder: Folder) -> Checkpoint:
    """Load and check a checkpoint.

    Raises:
        ExportError: no GPT-2 checkpoint, one of a kind that the serving graph does not cover, unreadable or pickled
            weights, parameters missing, no tokenizer, or a tokenizer that does not fit the model.

    """
    config = _config(folder.path)
    weights = _weight_files(folder.path)
    tokenizer = _tokenizer(folder.path)
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= config.vocab_size:
        raise ExportError(
            f"the tokenizer in {folder.path} has ids up to {highest}, the model only {config.vocab_size} tokens"
        )
    digest = hashlib.sha256()
    for file in weights:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return Checkpoint(
        folder=folder,
        model=_model(folder.path, config),
        tokenizer=tokenizer,
        shape=shape_of(config),
        end_of_text=_end_of_text(config, tokenizer),
        weights_sha256=digest.hexdigest(),
    )


def shape_of(config: GPT2Config) -> Shape:
    """Return what the serving graph has to know of a configuration."""
    return Shape(
        layers=config.n_layer,
        heads=config.n_head,
        head_size=config.n_embd // config.n_head,
        inner=config.n_inner or 4 * config.n_embd,
        vocabulary=config.vocab_size,
        context=config.n_positions,
        epsilon=config.layer_norm_epsilon,
        scale_by_head_size=config.scale_attn_weights,
        scale_by_layer=config.scale_attn_by_inverse_layer_idx,
    )


def _config(path: Path) -> GPT2Config:
    try:
        found: Any = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExportError(f"{path} is not a checkpoint: it has no config.json") from error
    except (OSError, ValueError) as error:
        raise ExportError(f"{path / 'config.json'} cannot be read: {error}") from error
    kind = found.get("model_type") if isinstance(found, dict) else None
    if kind != "gpt2":
        raise ExportError(f"{path} is not a GPT-2 checkpoint: its config.json has model_type {kind!r}, not 'gpt2'")
    config = GPT2Config(**found)
    for name in ("n_layer", "n_head", "n_embd", "n_positions", "vocab_size"):
        if not isinstance(size := getattr(config, name), int) or size < 1:
            raise ExportError(f"{path / 'config.json'} has {name} {size!r}; wanted is a whole number above 0")
    if config.activation_function not in ACTIVATIONS:
        raise ExportError(
            f"{path} uses the activation {config.activation_function!r}; covered are {', '.join(ACTIVATIONS)}"
        )
    if config.add_cross_attention:
        raise ExportError(f"{path} has cross-attention: it is half of an encoder-decoder, which this does not cover")
    if config.n_embd % config.n_head:
        raise ExportError(f"{path} has a width of {config.n_embd}, which {config.n_head} heads do not divide")
    if config.n_embd // config.n_head % HEAD_STEP:
        raise ExportError(
            f"{path} has heads of {config.n_embd // config.n_head} elements; covered are multiples of {HEAD_STEP}"
        )
    return config


def _weight_files(path: Path) -> list[Path]:
    files = sorted(path.glob("model*.safetensors"))
    if not files:
        raise ExportError(
            f"{path} has no model.safetensors. Weights in other formats are not read, pickles (pytorch_model.bin) "
            "above all: they can run code. Load them where you trust them and save_pretrained() the model again"
        )
    return files


def _model(path: Path, config: GPT2Config) -> GPT2LMHeadModel:
    model: GPT2LMHeadModel
    try:
        # Eager attention, because it is the one that follows every attention flag of the configuration.
        model, report = GPT2LMHeadModel.from_pretrained(
            path,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ExportError(f"the weights in {path} cannot be read: {error}") from error
    # Loading fills what is missing with random numbers, and only logs it.
    if missing := sorted(report["missing_keys"]):
        raise ExportError(f"the weights in {path} lack {len(missing)} parameters, {missing[0]} for one")
    if not torch.equal(model.lm_head.weight, model.transformer.wte.weight):
        raise ExportError(f"{path} has an LM head of its own; covered are models that share it with the embedding")
    model.eval()
    return model


def _tokenizer(path: Path) -> Tokenizer:
    whole, vocabulary, merges = path / "tokenizer.json", path / "vocab.json", path / "merges.txt"
    if not whole.is_file() and not (vocabulary.is_file() and merges.is_file()):
        raise ExportError(f"{path} has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt")
    try:
        if whole.is_file():
            tokenizer = Tokenizer.from_file(str(whole))
        else:
            tokenizer = GPT2TokenizerFast(vocab_file=str(vocabulary), merges_file=str(merges)).backend_tokenizer
    except Exception as error:
        # The library raises bare Exception for a file it cannot make sense of.
        raise ExportError(f"the tokenizer in {path} cannot be read: {error}") from error
    # Training leaves these behind in some files; at run time they would shorten prompts without a word.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _end_of_text(config: GPT2Config, tokenizer: Tokenizer) -> int:
    end = config.eos_token_id if config.eos_token_id is not None else tokenizer.token_to_id(END_OF_TEXT)
    if not isinstance(end, int) or not 0 <= end < config.vocab_size:
        raise ExportError(f"config.json has eos_token_id {end!r}; wanted is one id below {config.vocab_size}")
    return end
