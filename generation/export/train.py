"""Train a small GPT-2 from scratch on a text file, or go on from a checkpoint; the bundled demo model was made with it.

    python -m generation.export.train corpus.txt models/demo/checkpoint
    python -m generation.export.train mine.txt models/mine/checkpoint --from models/demo/checkpoint

The text holds documents separated by lines of ``<|endoftext|>``. The folder gets a `transformers` checkpoint (half
precision), its tokenizer and ``training.json``: the recipe and the score on documents that were held out.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers import processors as post_processors
from transformers import GPT2Config, GPT2LMHeadModel

from generation.export import hub
from generation.export.checkpoint import load
from generation.export.errors import ExportError
from generation.export.training import END_OF_TEXT, Recipe, fit, split_documents

# What a checkpoint has learnt is moved gently: AdamW alone, at a fortieth of the rate, and not for long.
FINE_TUNING = Recipe(epochs=3.0, muon_rate=0.0, adam_rate=5e-5, weight_decay=0.01, warmup=0.1, decay=0.9)
# Told by the checkpoint.
SHAPE = ("layers", "width", "heads", "vocabulary", "dropout")


def train_tokenizer(documents: list[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE of the GPT-2 kind: no normalisation, no unknown token, end-of-text as the last id."""
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
    """Train from scratch on `text` and write the checkpoint folder `output`. Returns what ``training.json`` holds.

    Raises:
        ExportError: too little text for one batch.

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
    """Go on from the checkpoint `model`, a folder or a hub id, with its tokenizer and its shape; else as `train`.

    Raises:
        ExportError: a checkpoint that the export would refuse, one that would overwrite itself, a context longer than
            its own, or too little text for one batch.

    """
    found = hub.find(model)
    if found.path.resolve() == output.resolve():
        raise ExportError(f"the output is {model} itself: choose another folder, so that the checkpoint stays")
    torch.manual_seed(recipe.seed)
    checkpoint = load(found)
    config, shape = checkpoint.model.config, checkpoint.shape
    if not checkpoint.tokens.ends_of_text:
        raise ExportError(f"{model} has no end-of-text token, by which documents are kept apart")
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


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0, 2 for what the user can mend, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m generation.export.train", description=__doc__.split("\n")[0])
    parser.add_argument("text", type=Path, help="UTF-8 text, documents separated by lines of <|endoftext|>")
    parser.add_argument("output", type=Path, help="folder for the checkpoint")
    parser.add_argument(
        "--from", dest="model", metavar="MODEL", help="go on from this checkpoint: a folder, or an id on the hub"
    )
    gentle = asdict(FINE_TUNING)
    for name, value in asdict(Recipe()).items():
        default = f"default {value}"
        if name in SHAPE:
            default += "; with --from the checkpoint's"
        elif gentle[name] != value:
            default += f"; with --from {gentle[name]}"
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=argparse.SUPPRESS, help=default)
    parser.add_argument("--compiled", action="store_true", help="a third faster; needs a C++ compiler")
    options = vars(parser.parse_args(arguments))
    text, output, model = options.pop("text"), options.pop("output"), options.pop("model")
    compiled = options.pop("compiled")
    if model and (told := [f"--{name}" for name in SHAPE if name in options]):
        parser.error(f"{', '.join(told)}: with --from the checkpoint decides")
    try:
        corpus = text.read_text(encoding="utf-8")
        if model:
            result = fine_tune(model, corpus, output, replace(FINE_TUNING, **options), compiled=compiled)
        else:
            result = train(corpus, output, Recipe(**options), compiled=compiled)
    except (OSError, UnicodeDecodeError, ExportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what was saved last is kept", file=sys.stderr)
        return 130
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
