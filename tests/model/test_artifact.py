import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from generation.model.artifact import FORMAT, ArtifactError, read_config, verify_files

GOOD: dict[str, Any] = {
    "format": FORMAT, "layers": 2, "heads": 2, "head_size": 8, "vocabulary": 16,
    "tokens": 16, "holes": [], "context": 32, "ends_of_text": [15], "begin_of_text": 15,
    "precision": "fp32", "cache": "float32",
    "files": {
        "model.onnx": hashlib.sha256(b"graph").hexdigest(),
        "model.onnx.data": hashlib.sha256(b"weights").hexdigest(),
        "tokenizer.json": hashlib.sha256(b"tokenizer").hexdigest(),
    },
    "source": {"model": "someone/some-model", "revision": None},
}  # fmt: skip


LARGE = '{"source": "' + "x" * (1 << 20) + '"}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(GOOD))
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "model.onnx.data").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_bytes(b"tokenizer")
    return tmp_path


def test_a_good_artifact_is_read(folder: Path) -> None:
    config = read_config(folder)
    verify_files(folder, config)
    assert (config.layers, config.ends_of_text, config.name) == (2, [15], "some-model")


def test_a_missing_artifact_names_the_folder_and_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"config.json is missing; export the model again, or point MODEL_DIR"):
        read_config(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"source": "' + "x" * (1 << 20) + '"}',
        '{"format": 99}',
        f'{{"format": {FORMAT}}}',
        '{"format": 2}',
    ],
)
def test_a_broken_config_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"config\.json"):
        read_config(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layers", "6"),
        ("context", -1),
        ("heads", True),
        ("files", []),
        ("layers", 6_000_000_000),
        ("head_size", 1 << 30),
        ("vocabulary", 10**300),
        ("width", "10"),
        ("width", 9),
        ("width", 18),
        ("width", 0),
        ("files", GOOD["files"] | {"model.onnx": 7}),
        ("files", GOOD["files"] | {"more": None}),
        ("files", GOOD["files"] | {"../secret": "0"}),
        ("source", "x" * 4000),
        ("chat_template", 5),
        ("chat_template", "x" * ((1 << 17) + 1)),
        ("special_tokens", ["</s>"]),
        ("special_tokens", {"eos_token": 5}),
        ("special_tokens", {"additional_special_tokens": ["a", None]}),
        ("tokens", 17),
        ("ends_of_text", [16]),
        ("ends_of_text", 15),
        ("holes", [-1]),
        ("begin_of_text", 16),
    ],
)
def test_a_wrong_value_is_named(folder: Path, key: str, value: object) -> None:
    (folder / "config.json").write_text(json.dumps(GOOD | {key: value}))
    with pytest.raises(ArtifactError, match=f"'{key}'") as caught:
        read_config(folder)
    assert len(str(caught.value)) < 500


def test_the_width_is_that_of_all_heads_unless_it_is_given(folder: Path) -> None:
    assert read_config(folder).width == 16
    (folder / "config.json").write_text(json.dumps(GOOD | {"width": 10}))

    assert read_config(folder).width == 10


def test_an_artifact_may_have_a_chat_template_or_none(folder: Path) -> None:
    assert (read_config(folder).chat_template, read_config(folder).special_tokens) == (None, {})
    tokens = {"eos_token": "</s>", "additional_special_tokens": ["a"]}
    (folder / "config.json").write_text(
        json.dumps(GOOD | {"chat_template": "{{ messages }}", "special_tokens": tokens})
    )
    found = read_config(folder)
    assert (found.chat_template, found.special_tokens) == ("{{ messages }}", tokens)


@pytest.mark.parametrize("content", [b"graph!", b"grap", b"grapi"])
def test_a_changed_file_is_found(folder: Path, content: bytes) -> None:
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged or belongs to another model"):
        verify_files(folder, read_config(folder))


def test_a_missing_file_is_found(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx cannot be read"):
        verify_files(folder, read_config(folder))
