"""Write small checkpoints of the kinds that users have; each function writes one to a folder.

Artifacts of the kinds in `SERVED` must equal `transformers`. The exporter must refuse the kinds in `REFUSED`, with the
given message.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer, GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

from generation.export.configuration import ACTIVATIONS
from generation.export.verify import EVALUATION_TEXT
from tests.support.adapter_kinds import ia3, lora, lora_with_tokens
from tests.support.checkpoints import VOCABULARY
from tests.support.kind_parts import END, Kind, change_tensors, configured, put
from tests.support.kind_parts import write as _small
from tests.support.templates import CHATML, DIALOGPT
from tests.support.tokenizers import unigram, word_piece


def _prefixed(prefix: str) -> Kind:
    def write(folder: Path) -> None:
        _small(folder)
        change_tensors(folder, lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()})

    return write


def _pickled(folder: Path) -> None:
    _small(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _sharded(*, safe_serialization: bool) -> Kind:
    def write(folder: Path) -> None:
        _small(folder)
        model = GPT2LMHeadModel.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="100KB", safe_serialization=safe_serialization)

    return write


def _typed(dtype: torch.dtype) -> Kind:
    def write(folder: Path) -> None:
        _small(folder)
        change_tensors(folder, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})

    return write


def _base_alone(folder: Path) -> None:
    _small(folder)
    GPT2LMHeadModel.from_pretrained(folder).transformer.save_pretrained(folder)


def _tokenized(folder: Path, tokenizer: Tokenizer, **changes: Any) -> None:
    _small(folder, vocab_size=tokenizer.get_vocab_size(), **changes)
    tokenizer.save(str(folder / "tokenizer.json"))
    put(folder, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def _word_piece(folder: Path) -> None:
    _tokenized(folder, word_piece(), bos_token_id=2, eos_token_id=3)


def _unigram(folder: Path) -> None:
    _tokenized(folder, unigram(), bos_token_id=1, eos_token_id=2)


def _sentence_piece(folder: Path) -> None:
    """Write a SentencePiece model that `T5Tokenizer` reads, as of Japanese GPT-2."""
    from sentencepiece import SentencePieceTrainer

    _small(folder, bos_token_id=1, eos_token_id=2)
    (folder / "tokenizer.json").unlink()
    with (folder / "spiece.model").open("wb") as file:
        SentencePieceTrainer.train(
            sentence_iterator=iter(EVALUATION_TEXT.read_text(encoding="utf-8").splitlines()),
            model_writer=file,
            vocab_size=VOCABULARY,
            pad_id=3,
            minloglevel=2,
        )
    words = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    put(folder, "tokenizer_config.json", tokenizer_class="T5Tokenizer", extra_ids=0, **words)


def _with_tokens(folder: Path, *added: str, rows: int = 0, **changes: Any) -> None:
    tokenizer = Tokenizer.from_file(str(_saved(folder) / "tokenizer.json"))
    tokenizer.add_special_tokens(list(added))
    _small(folder, vocab_size=max(rows, tokenizer.get_vocab_size()), **changes)
    tokenizer.save(str(folder / "tokenizer.json"))


def _saved(folder: Path) -> Path:
    _small(folder)
    return folder


def _padded(folder: Path) -> None:
    """Pad the embedding table, like `resize_token_embeddings(pad_to_multiple_of=64)`."""
    _with_tokens(folder, "[PAD]", rows=448)


def _chat(folder: Path) -> None:
    """Set two end-of-text tokens, as after fine-tuning for chats."""
    _with_tokens(folder, "<|im_start|>", "<|im_end|>")
    put(folder, "generation_config.json", eos_token_id=[END, END + 2, *range(100, 140)])


def _other_end(folder: Path) -> None:
    _with_tokens(folder, "<s>", "</s>", bos_token_id=END + 1, eos_token_id=END + 2)


def _no_end(folder: Path) -> None:
    _small(folder)
    put(folder, "config.json", eos_token_id=None)
    put(folder, "generation_config.json", eos_token_id=None)


def _not_resized(folder: Path) -> None:
    """Add a padding token without a row in the embedding table."""
    _small(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)


def _in_parts(folder: Path) -> None:
    """Write the tokenizer in the files of older checkpoints, with an added token and a space before the first word."""
    _with_tokens(folder)
    described = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(described["vocab"] | {"<|endoftext|>": END}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, described["merges"])))
    _write_rows(folder, VOCABULARY + 1)
    put(folder, "added_tokens.json", **{"<speaker>": VOCABULARY})
    put(folder, "tokenizer_config.json", tokenizer_class="GPT2Tokenizer", add_prefix_space=True)


def _write_rows(folder: Path, rows: int) -> None:
    model = GPT2LMHeadModel.from_pretrained(folder)
    model.resize_token_embeddings(rows, mean_resizing=False)
    model.save_pretrained(folder)


def _begun(folder: Path) -> None:
    """Write a tokenizer that puts a begin-of-text token before every text."""
    _small(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", pair=None, special_tokens=[("<|endoftext|>", END)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def _dialogpt(folder: Path) -> None:
    """Write a model like DialoGPT, whose turns end with the end-of-text token."""
    _small(folder)
    put(folder, "tokenizer_config.json", tokenizer_class="GPT2Tokenizer", chat_template=DIALOGPT)


def _chatml(folder: Path) -> None:
    """Write a fine-tune for chats with two added tokens, two end-of-text tokens, and a separate template file."""
    _with_tokens(folder, "<|im_start|>", "<|im_end|>", eos_token_id=[END, END + 2])
    put(folder, "generation_config.json", eos_token_id=[END, END + 2])
    put(folder, "tokenizer_config.json", tokenizer_class="GPT2Tokenizer", eos_token="<|im_end|>")  # noqa: S106
    (folder / "chat_template.jinja").write_text(CHATML, encoding="utf-8")


def _holes(folder: Path) -> None:
    _small(folder)
    described = json.loads((folder / "tokenizer.json").read_text())
    model = described["model"]
    (lost,) = (token for token, number in model["vocab"].items() if number == END - 1)
    del model["vocab"][lost]
    model["vocab"]["<|endoftext|>"] = END
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) != lost]
    (folder / "tokenizer.json").write_text(json.dumps(described))


def _classifier(folder: Path) -> None:
    _small(folder)
    config = GPT2Config.from_pretrained(folder)
    GPT2ForSequenceClassification(config).save_pretrained(folder)


def _spoiled(folder: Path) -> None:
    _small(folder)
    change_tensors(folder, lambda tensors: tensors | {"transformer.wpe.weight": torch.full((128, 64), torch.nan)})


# The kinds by the row of the table in docs/models.md that lists them.
ROWS: dict[str, dict[str, Kind]] = {
    "shapes": {
        "plain": configured(),
        "inner width": configured(n_inner=96),
        "Cerebras-GPT": configured(n_embd=160, n_head=2, n_inner=640, activation_function="gelu", n_layer=1),
        "GPT-2 XL's width": configured(n_embd=1600, n_head=25, n_layer=1, initializer_range=0.05),
        "heads of 12": configured(n_embd=96, n_head=8),
        "two elements in two heads": configured(n_embd=2, n_head=2, n_positions=1024),
        "context of 4": configured(n_positions=4),
    },
    "attention": {
        "attention not scaled": configured(scale_attn_weights=False),
        "attention scaled by layer": configured(scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True),
    },
    "activations": {f"activation {name}": configured(activation_function=name) for name in ACTIVATIONS},
    "language model head": {"untied head": configured(tie_word_embeddings=False)},
    "weights": {
        "pickle": _pickled,
        "sharded": _sharded(safe_serialization=True),
        "pickle in parts": _sharded(safe_serialization=False),
        "float16": _typed(torch.float16),
        "bfloat16": _typed(torch.bfloat16),
        "float64": _typed(torch.float64),
        "names with module.": _prefixed("module."),
        "names with _orig_mod.": _prefixed("_orig_mod."),
        "names with base_model.model.": _prefixed("base_model.model."),
        "without its head": _base_alone,
    },
    "adapters": {"LoRA adapter": lora, "IA3 adapter": ia3, "LoRA adapter with tokens": lora_with_tokens},
    "tokenizers": {
        "tokenizer in parts": _in_parts,
        "WordPiece": _word_piece,
        "Unigram": _unigram,
        "SentencePiece": _sentence_piece,
    },
    "padded vocabulary": {
        "padded vocabulary": _padded,
        "embeddings not resized": _not_resized,
        "ids without a token": _holes,
    },
    "end-of-text tokens": {"several ends": _chat, "another end": _other_end, "no end": _no_end},
    "beginning-of-text token": {"beginning-of-text token": _begun},
    "chat templates": {"DialoGPT": _dialogpt, "ChatML": _chatml},
}
SERVED: dict[str, Kind] = {name: kind for row in ROWS.values() for name, kind in row.items()}
# The kinds with a different graph or different arithmetic.
STRUCTURES = (
    "plain",
    "activation gelu",
    "activation relu",
    "activation silu",
    "activation tanh",
    "untied head",
    "Cerebras-GPT",
    "GPT-2 XL's width",
    "heads of 12",
    "context of 4",
    "padded vocabulary",
    "WordPiece",
    "LoRA adapter",
)
REFUSED: dict[str, tuple[Kind, str]] = {
    "classifier": (_classifier, "it is a classifier"),
    "quantized": (lambda folder: _then(folder, quantization_config={"quant_method": "gptq"}), r"is quantized \(gptq\)"),
    "pruned heads": (lambda folder: _then(folder, pruned_heads={"0": [1]}), "has pruned attention heads"),
    "short context": (configured(n_positions=3), "a context of 3 tokens"),
    "another architecture": (lambda folder: _then(folder, model_type="gpt_neo"), "not a GPT-2 checkpoint"),
    "another activation": (lambda folder: _then(folder, activation_function="mish"), "the activation 'mish'"),
    "cross-attention": (lambda folder: _then(folder, add_cross_attention=True), "has cross-attention"),
    "not a number": (_spoiled, r"wpe\.weight holds NaN"),
}


def _then(folder: Path, **changes: Any) -> None:
    _small(folder)
    put(folder, "config.json", **changes)
