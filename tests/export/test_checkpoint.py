import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from generation.export.checkpoint import Checkpoint, load
from generation.export.errors import ExportError
from generation.export.hub import Folder
from generation.export.tokens import Tokens
from tests.support.checkpoints import CONTEXT, VOCABULARY


@pytest.fixture
def folder(checkpoint_folder: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, to be spoiled."""
    return Path(shutil.copytree(checkpoint_folder, tmp_path / "copy"))


def opened(folder: Path) -> Checkpoint:
    return load(Folder(folder, folder.name, None))


def configure(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_shape_and_end_of_text_come_from_the_configuration(checkpoint: Checkpoint) -> None:
    shape = checkpoint.shape

    assert (shape.layers, shape.heads, shape.head_size, shape.width, shape.inner) == (2, 4, 32, 128, 512)
    assert (shape.vocabulary, shape.context) == (VOCABULARY, CONTEXT)
    assert checkpoint.tokens == Tokens(VOCABULARY, (), (VOCABULARY - 1,), VOCABULARY - 1)


def test_the_weights_are_identified_by_their_hash(checkpoint: Checkpoint, checkpoint_folder: Path) -> None:
    content = (checkpoint_folder / "model.safetensors").read_bytes()

    assert checkpoint.weights_sha256 == hashlib.sha256(content).hexdigest()


def test_half_precision_weights_are_read_as_float32(folder: Path) -> None:
    halves = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(halves, folder / "model.safetensors", {"format": "pt"})
    configure(folder, dtype="float16")

    assert {parameter.dtype for parameter in opened(folder).model.parameters()} == {torch.float32}


def test_a_folder_without_configuration(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"not a checkpoint: it has no config\.json"):
        opened(tmp_path)


def test_a_configuration_that_is_not_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")

    with pytest.raises(ExportError, match=r"config\.json cannot be read"):
        opened(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, "not a GPT-2 checkpoint.*'llama'"),
        ({"activation_function": "laplace"}, "activation 'laplace'.*gelu_new"),
        ({"add_cross_attention": True}, "cross-attention"),
        ({"n_head": 5}, "width of 128, which 5 heads"),
        ({"n_layer": 0}, "n_layer 0"),
        ({"vocab_size": "many"}, "vocab_size 'many'"),
        ({"n_layer": 3}, r"lack transformer\.h\.2\..* and 11 more"),
        ({"n_layer": 1}, r"nothing reads transformer\.h\.1\..* and 11 more.*--allow-unread"),
        ({"n_embd": 64}, r"do not fit config\.json: .* has shape \[.*\], wanted is \["),
        ({"vocab_size": 300}, r"wte\.weight has shape \[400, 128\], wanted is \[300, 128\]"),
        ({"n_positions": 3}, "context of 3 tokens; covered are contexts of 4 and more"),
        ({"n_inner": 0}, "n_inner 0"),
        ({"layer_norm_epsilon": "1e-5"}, "layer_norm_epsilon '1e-5'"),
        ({"pruned_heads": {"0": [1]}}, "pruned attention heads"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"is quantized \(gptq\)"),
    ],
    ids=str,
)
def test_a_configuration_that_is_not_covered(folder: Path, changes: dict[str, object], message: str) -> None:
    configure(folder, **changes)

    with pytest.raises(ExportError, match=message):
        opened(folder)


def test_damaged_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])

    with pytest.raises(ExportError, match="cannot be read"):
        opened(folder)


def test_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()

    with pytest.raises(ExportError, match="has no tokenizer"):
        opened(folder)


def test_a_damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")

    with pytest.raises(ExportError, match=r"tokenizer in .* cannot be read"):
        opened(folder)


def test_vocabulary_and_merges_make_a_tokenizer(folder: Path, checkpoint: Checkpoint) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in model["merges"]))

    text = "The lighthouse, once more: 3 birds!\n"
    assert opened(folder).tokenizer.encode(text).ids == checkpoint.tokenizer.encode(text).ids


def test_a_tokenizer_never_truncates_or_pads(folder: Path, checkpoint: Checkpoint) -> None:
    spoiled = type(checkpoint.tokenizer).from_file(str(folder / "tokenizer.json"))
    spoiled.enable_truncation(4)
    spoiled.enable_padding(length=99)
    spoiled.save(str(folder / "tokenizer.json"))

    text = "The ferry to the island left twice a day."
    assert opened(folder).tokenizer.encode(text).ids == checkpoint.tokenizer.encode(text).ids
