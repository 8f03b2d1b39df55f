"""Load a GPT-2 checkpoint with its tokenizer, and check that the serving graph supports it."""

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from generation.export.adapter import merge
from generation.export.chat import Chat, find_chat
from generation.export.configuration import read_configuration, shape_of
from generation.export.graph import Shape
from generation.export.hub import Folder
from generation.export.tokens import Tokens, find_tokens, has_tokenizer, load_fast, quiet
from generation.export.weights import Tensors, read_weights


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint: float32 weights on the CPU, in evaluation mode.

    Attributes:
        folder: where it came from.
        model: the model, with any adapter merged.
        tokenizer: its fast tokenizer.
        tokens: which ids are tokens, and which begin and end a text.
        shape: its sizes and options, for the serving graph.
        weights_sha256: SHA-256 of the weights, in hexadecimal.
        notes: remarks to show to the user.
    """

    folder: Folder
    model: GPT2LMHeadModel
    tokenizer: Tokenizer
    tokens: Tokens
    chat: Chat
    shape: Shape
    weights_sha256: str
    notes: tuple[str, ...] = ()

    @property
    def tied(self) -> bool:
        """Whether the language model head is the embedding table."""
        return torch.equal(self.model.lm_head.weight, self.model.transformer.wte.weight)


def load(folder: Folder, *, allow_unread: bool = False) -> Checkpoint:
    """Load and check a checkpoint, and merge its adapter, if it has one.

    Args:
        folder: the checkpoint on this machine.
        allow_unread: whether the weights may include tensors that the model does not use.

    Raises:
        ExportError: the folder holds no GPT-2 checkpoint, or one that the serving graph does not support; weights are
            missing, unreadable, not finite or unused; the tokenizer is missing or does not fit the model.

    """
    path = folder.path
    config = read_configuration(path)
    weights = read_weights(path, config, allow_unread=allow_unread)
    model = _model(config, weights.tensors)
    sha256, words = weights.sha256, path
    notes: tuple[str, ...] = ()
    if folder.adapter is not None:
        model, sha256, notes = merge(model, folder.adapter, sha256)
        config = model.config
        if has_tokenizer(folder.adapter):
            words = folder.adapter
    fast = load_fast(words)
    tokenizer, tokens = find_tokens(path, config, fast)
    chat = find_chat(fast)
    # Training saves these with the model.
    model.generation_config = GenerationConfig(
        eos_token_id=list(tokens.ends_of_text) or None, bos_token_id=tokens.begin_of_text
    )
    return Checkpoint(
        folder=folder,
        model=model,
        tokenizer=tokenizer,
        tokens=tokens,
        chat=chat,
        shape=shape_of(config),
        weights_sha256=sha256,
        notes=(*notes, *tokens.notes, *chat.notes),
    )


def _model(config: GPT2Config, tensors: Tensors) -> GPT2LMHeadModel:
    model: GPT2LMHeadModel
    with quiet():
        # Only eager attention obeys every attention flag of the configuration.
        model = GPT2LMHeadModel.from_pretrained(
            None, config=config, state_dict=tensors, dtype=torch.float32, attn_implementation="eager"
        )
    model.eval()
    return model
