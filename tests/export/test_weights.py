"""Weights in every file and by every name that people have them in."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from generation.export.configuration import read_configuration
from generation.export.errors import ExportError
from generation.export.weights import Tensors, read_weights


@pytest.fixture
def folder(checkpoint_folder: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, to be changed."""
    return Path(shutil.copytree(checkpoint_folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def tensors(checkpoint_folder: Path) -> Tensors:
    return load_file(checkpoint_folder / "model.safetensors")


def read(folder: Path, *, allow_unread: bool = False) -> Tensors:
    return read_weights(folder, read_configuration(folder), allow_unread=allow_unread).tensors


def put(folder: Path, tensors: Tensors, name: str = "model.safetensors") -> None:
    (folder / "model.safetensors").unlink(missing_ok=True)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)


def configure(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def equal(found: Tensors, expected: Tensors) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def as_pickle(folder: Path, tensors: Tensors) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")


def in_parts(folder: Path, tensors: Tensors) -> None:
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {name: f"model-0000{1 + place % 2}-of-00002.safetensors" for place, name in enumerate(names)}
    for file in set(places.values()):
        save_file({name: tensors[name] for name in names if places[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def as_pickle_in_parts(folder: Path, tensors: Tensors) -> None:
    (folder / "model.safetensors").unlink()
    places = {name: f"pytorch_model-0000{1 + place % 2}-of-00002.bin" for place, name in enumerate(sorted(tensors))}
    for file in set(places.values()):
        torch.save({name: tensors[name] for name in tensors if places[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))


def as_variant(folder: Path, tensors: Tensors) -> None:
    put(folder, tensors, "model.fp16.safetensors")


def renamed(prefix: str) -> Callable[[Path, Tensors], None]:
    def write(folder: Path, tensors: Tensors) -> None:
        put(folder, {prefix + name: tensor for name, tensor in tensors.items()})

    return write


def without_the_outer_name(folder: Path, tensors: Tensors) -> None:
    put(folder, {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()})


def with_the_mask(folder: Path, tensors: Tensors) -> None:
    mask = {"h.0.attn.bias": torch.ones(1, 1, 256, 256), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    put(folder, tensors | {f"transformer.{name}": tensor for name, tensor in mask.items()})


def with_the_table_twice(folder: Path, tensors: Tensors) -> None:
    put(folder, tensors | {"lm_head.weight": tensors["transformer.wte.weight"].clone()})


def with_a_second_head(folder: Path, tensors: Tensors) -> None:
    put(folder, tensors | {"multiple_choice_head.summary.weight": torch.ones(1, 128)})


@pytest.mark.parametrize(
    "write",
    [
        as_pickle,
        in_parts,
        as_pickle_in_parts,
        as_variant,
        renamed("module."),
        renamed("_orig_mod."),
        renamed("base_model.model."),
        renamed("module._orig_mod."),
        without_the_outer_name,
        with_the_mask,
        with_the_table_twice,
        with_a_second_head,
    ],
)
def test_the_same_weights_are_read(folder: Path, tensors: Tensors, write: Callable[[Path, Tensors], None]) -> None:
    write(folder, tensors)

    assert equal(read(folder), tensors)


def test_a_pickle_that_could_run_code_is_not_opened(folder: Path, tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "harm",)

    (folder / "model.safetensors").unlink()
    torch.save({"transformer.wte.weight": Harm()}, folder / "pytorch_model.bin")

    with pytest.raises(ExportError, match="could run code"):
        read(folder)
    assert not (tmp_path / "harm").exists()


def test_a_pickle_of_something_else(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"model": {"wte.weight": torch.ones(2)}, "step": 3}, folder / "pytorch_model.bin")

    with pytest.raises(ExportError, match="not a dictionary of tensors"):
        read(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_half_a_file(folder: Path, tensors: Tensors, name: str) -> None:
    if name == "pytorch_model.bin":
        as_pickle(folder, tensors)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])

    with pytest.raises(ExportError, match="cannot be read") as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_a_pointer_of_git_lfs(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3\n")

    with pytest.raises(ExportError, match="git lfs pull"):
        read(folder)


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "tf_model.h5")

    with pytest.raises(ExportError, match=r"has no weights.*tf_model\.h5 is of a kind that is not read"):
        read(folder)


def test_a_missing_part(folder: Path, tensors: Tensors) -> None:
    in_parts(folder, tensors)
    (folder / "model-00002-of-00002.safetensors").unlink()

    with pytest.raises(
        ExportError, match=r"names 2 files of weights, and model-00002-of-00002\.safetensors is missing"
    ):
        read(folder)


def test_parts_lie_beside_their_index(folder: Path, tensors: Tensors) -> None:
    in_parts(folder, tensors)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../secret.safetensors"}}')

    with pytest.raises(ExportError, match="does not name files beside it"):
        read(folder)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("score.weight", "it is a classifier"),
        ("transformer.h.0.attn.c_attn.lora_A.default.weight", "a LoRA adapter that is not merged"),
        ("lm_head.weight", "ties the head to the embedding"),
        ("some.other", r"nothing reads some\.other in"),
    ],
)
def test_weights_that_nothing_reads_are_named(folder: Path, tensors: Tensors, name: str, reason: str) -> None:
    shape = (400, 128) if name == "lm_head.weight" else (2, 2)
    put(folder, tensors | {name: torch.ones(shape)})

    with pytest.raises(ExportError, match=reason) as caught:
        read(folder)
    assert name in str(caught.value)
    assert "--allow-unread" in str(caught.value)
    assert equal(read(folder, allow_unread=True), tensors)


def test_a_head_of_its_own_is_read_where_the_configuration_says_so(folder: Path, tensors: Tensors) -> None:
    head = {"lm_head.weight": torch.ones(400, 128)}
    put(folder, tensors | head)
    configure(folder, tie_word_embeddings=False)

    assert equal(read(folder), tensors | head)


def test_a_missing_head_of_its_own(folder: Path) -> None:
    configure(folder, tie_word_embeddings=False)

    with pytest.raises(ExportError, match=r"lack lm_head\.weight"):
        read(folder)


@pytest.mark.parametrize(
    ("value", "said"), [(float("nan"), r"NaN \(1 of 16384"), (float("-inf"), r"infinity \(1 of 16384")]
)
def test_numbers_that_are_not_finite_are_named(folder: Path, tensors: Tensors, value: float, said: str) -> None:
    name = "transformer.h.1.attn.c_proj.weight"
    spoiled = tensors[name].clone()
    spoiled[3, 4] = value
    put(folder, tensors | {name: spoiled})

    with pytest.raises(ExportError, match=rf"{name} holds {said}"):
        read(folder)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float8_e4m3fn], ids=str)
def test_packed_weights_are_quantized(folder: Path, tensors: Tensors, kind: torch.dtype) -> None:
    name = "transformer.h.1.attn.c_proj.weight"
    put(folder, tensors | {name: torch.zeros(128, 128).to(kind)})

    with pytest.raises(ExportError, match=rf"is quantized: {name} holds {kind}"):
        read(folder)
