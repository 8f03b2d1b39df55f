"""Train a model and a tokenizer from scratch, or fine-tune a checkpoint."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers import processors as post_processors
from transformers import GPT2Config, GPT2LMHeadModel

from generation.export import hub
from generation.export.checkpoint import load
from generation.export.errors import ExportError
from generation.export.recipe import FINE_TUNING, Recipe
from generation.export.training import END_OF_TEXT, fit, split_documents


def train_tokenizer(documents: list[str], vocabulary: int) -> Tokenizer:
    """Train a byte-level BPE tokenizer like GPT-2's: no normalisation, no unknown token, end-of-text as the last id."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = post_processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def train(text: str, output: Path, recipe: Recipe, *, compiled: bool = False) -> dict[str, object]:
    """Train from scratch on `text`, and write the checkpoint folder `output`; return the content of ``training.json``.

    Raises:
        ExportError: there is too little text for one batch.

    """
    torch.manual_seed(recipe.seed)
    tokenizer = train_tokenizer(split_documents(text)[0], recipe.vocabulary)
    end = tokenizer.token_to_id(END_OF_TEXT)
    config = GPT2Config(
        vocab_size=tokenizer.get_vocab_size(),
        n_positions=recipe.context,
        n_embd=recipe.width,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        resid_pdrop=recipe.dropout,
        embd_pdrop=recipe.dropout,
        attn_pdrop=0.0,
        bos_token_id=end,
        eos_token_id=end,
        architectures=["GPT2LMHeadModel"],
    )
    return fit(GPT2LMHeadModel(config), tokenizer, end, text, output, recipe=recipe, compiled=compiled)


def fine_tune(
    model: str, text: str, output: Path, recipe: Recipe = FINE_TUNING, *, compiled: bool = False
) -> dict[str, object]:
    """Fine-tune the checkpoint `model`, a folder or a hub id, with its tokenizer and sizes; otherwise like `train`.

    Raises:
        ExportError: the exporter does not support the checkpoint, the output is the checkpoint's folder, the context
            exceeds the checkpoint's, or there is too little text for one batch.

    """
    found = hub.find(model)
    if found.path.resolve() == output.resolve():
        raise ExportError(f"the output is {model} itself: choose another folder, so that the checkpoint stays")
    torch.manual_seed(recipe.seed)
    checkpoint = load(found)
    config, shape = checkpoint.model.config, checkpoint.shape
    if not checkpoint.tokens.ends_of_text:
        raise ExportError(f"{model} has no end-of-text token, which training needs between documents")
    if recipe.context > shape.context:
        raise ExportError(f"--context {recipe.context} is more than the checkpoint's {shape.context}")
    recipe = replace(
        recipe,
        layers=shape.layers,
        width=config.n_embd,
        heads=shape.heads,
        vocabulary=shape.vocabulary,
        dropout=config.resid_pdrop,
    )
    result = fit(
        checkpoint.model,
        checkpoint.tokenizer,
        checkpoint.tokens.ends_of_text[0],
        text,
        output,
        recipe=recipe,
        compiled=compiled,
    )
    result = {
        "from": {"model": found.name, "revision": found.revision, "weights_sha256": checkpoint.weights_sha256}
    } | result
    (output / "training.json").write_text(json.dumps(result, indent=2) + "\n")
    return result
