"""Tokenizers as `transformers` loads them, and where a text begins and ends."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import AutoTokenizer, BertTokenizerFast

from generation.export.configuration import read_configuration
from generation.export.errors import ExportError
from generation.export.tokens import Tokens, find_tokens, load_fast, written
from tests.support.checkpoints import VOCABULARY
from tests.support.tokenizers import word_piece

END = VOCABULARY - 1
TEXT = "The lighthouse, once <|endoftext|> more: 3 birds!\n"


@pytest.fixture
def folder(checkpoint_folder: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, to be changed."""
    return Path(shutil.copytree(checkpoint_folder, tmp_path / "copy"))


def put(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | values))


def found(folder: Path) -> Tokens:
    return find_tokens(folder, read_configuration(folder), load_fast(folder))[1]


def equals_transformers(folder: Path) -> list[int]:
    ids: list[int] = load_fast(folder).backend_tokenizer.encode(TEXT).ids
    assert ids == AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"]
    return ids


def split(folder: Path) -> None:
    """Leave the files of older checkpoints: vocabulary and merges."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"] | {"<|endoftext|>": END}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in model["merges"]))


def test_vocabulary_and_merges_make_the_same_tokenizer(folder: Path, checkpoint_folder: Path) -> None:
    split(folder)

    assert equals_transformers(folder) == equals_transformers(checkpoint_folder)


def test_added_tokens_are_known(folder: Path) -> None:
    split(folder)
    put(folder, "config.json", vocab_size=VOCABULARY + 1)
    put(folder, "added_tokens.json", birds=VOCABULARY)
    put(folder, "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")

    assert VOCABULARY in equals_transformers(folder)


@pytest.mark.parametrize("parts", [False, True])
def test_a_space_before_the_first_word_is_added_where_the_configuration_says_so(folder: Path, *, parts: bool) -> None:
    before = equals_transformers(folder)
    if parts:
        split(folder)
    put(folder, "tokenizer_config.json", add_prefix_space=True, tokenizer_class="GPT2Tokenizer")

    assert equals_transformers(folder) != before


def test_a_vocabulary_of_word_pieces(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    pieces = sorted(word_piece().get_vocab().items(), key=lambda one: one[1])
    (folder / "vocab.txt").write_text("\n".join(piece for piece, _ in pieces))
    put(folder, "tokenizer_config.json", tokenizer_class="BertTokenizer")

    ids = load_fast(folder).backend_tokenizer.encode("the cats").ids
    assert ids == BertTokenizerFast(vocab_file=str(folder / "vocab.txt"))("the cats")["input_ids"]


def test_nothing_is_cut_off_or_filled_up(folder: Path, checkpoint_folder: Path) -> None:
    spoiled = Tokenizer.from_file(str(folder / "tokenizer.json"))
    spoiled.enable_truncation(4)
    spoiled.enable_padding(length=99)
    spoiled.save(str(folder / "tokenizer.json"))

    assert load_fast(folder).backend_tokenizer.encode(TEXT).ids == equals_transformers(checkpoint_folder)


@pytest.mark.parametrize(
    ("generation", "configuration", "ends"),
    [
        ({"eos_token_id": [5, END]}, {"eos_token_id": 6}, (5, END)),
        ({"eos_token_id": 5}, {"eos_token_id": 6}, (5,)),
        ({}, {"eos_token_id": 6}, (6,)),
        ({}, {"eos_token_id": [6, 7, 6]}, (6, 7)),
        ({"eos_token_id": None}, {"eos_token_id": None}, ()),
        ({"eos_token_id": [VOCABULARY, 5]}, {}, (5,)),
    ],
    ids=str,
)
def test_ends_come_from_the_generation_configuration_then_from_the_other(
    folder: Path, generation: dict[str, Any], configuration: dict[str, Any], ends: tuple[int, ...]
) -> None:
    (folder / "generation_config.json").unlink()
    put(folder, "generation_config.json", **generation)
    put(folder, "config.json", **configuration)

    assert found(folder).ends_of_text == ends


def test_what_is_no_end_is_noted(folder: Path) -> None:
    put(folder, "generation_config.json", eos_token_id=[VOCABULARY])

    assert found(folder).notes == (
        f"no text ends with token {VOCABULARY}: the tokenizer does not have it",
        "the model has no end-of-text token: texts end at their limit of tokens",
    )


def test_settings_that_the_server_does_not_apply_are_noted(folder: Path) -> None:
    values = {"repetition_penalty": 1.2, "top_p": 0.9, "top_k": 50, "max_new_tokens": 64, "num_beams": 1}
    put(folder, "generation_config.json", **values, suppress_tokens=list(range(100)))

    (note,) = found(folder).notes
    assert "sets top_p 0.9, max_new_tokens 64, repetition_penalty 1.2, suppress_tokens [0, 1, 2," in note
    assert "the server does not apply that" in note
    assert len(note) < 250


@pytest.mark.parametrize("end", ["end", 3.5, [True], {"id": 3}], ids=str)
def test_an_end_that_is_no_token_id(folder: Path, end: object) -> None:
    put(folder, "generation_config.json", eos_token_id=end)

    with pytest.raises(ExportError, match="wanted is a token id or a list of them"):
        found(folder)


@pytest.mark.parametrize(
    ("generation", "configuration", "begin"),
    [
        ({"bos_token_id": 5}, {"bos_token_id": 6}, 5),
        ({"bos_token_id": None}, {"bos_token_id": 6}, 6),
        ({"bos_token_id": VOCABULARY}, {"bos_token_id": None, "eos_token_id": 7}, END),
    ],
    ids=str,
)
def test_a_text_begins_with_the_models_own_token(
    folder: Path, generation: dict[str, Any], configuration: dict[str, Any], begin: int
) -> None:
    put(folder, "generation_config.json", **generation)
    put(folder, "config.json", **configuration)

    assert found(folder).begin_of_text == begin


def test_ids_that_are_no_tokens_are_found(folder: Path) -> None:
    put(folder, "config.json", vocab_size=512)
    described = json.loads((folder / "tokenizer.json").read_text())
    model = described["model"]
    (lost,) = (token for token, number in model["vocab"].items() if number == END - 1)
    del model["vocab"][lost]
    model["vocab"]["<|endoftext|>"] = END
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) != lost]
    (folder / "tokenizer.json").write_text(json.dumps(described))

    assert (found(folder).tokens, found(folder).holes) == (VOCABULARY, (END - 1,))


def test_more_tokens_than_the_model_has(folder: Path) -> None:
    put(folder, "config.json", vocab_size=300)

    with pytest.raises(ExportError, match="ids up to 398, the model only 300 tokens: they belong to different models"):
        found(folder)


def test_tokens_that_were_added_to_a_model_that_was_not_resized_are_left_out(folder: Path) -> None:
    fast = AutoTokenizer.from_pretrained(folder)
    fast.add_special_tokens({"pad_token": "[PAD]"})
    fast.save_pretrained(folder)
    tokenizer, tokens = find_tokens(folder, read_configuration(folder), load_fast(folder))

    assert tokens.tokens == VOCABULARY
    assert tokens.notes == ("the model has no embedding for [PAD]: left out of the tokenizer",)
    assert max(tokenizer.encode("a [PAD] b").ids) < VOCABULARY
    assert tokenizer.encode(TEXT).ids == fast(TEXT)["input_ids"]


def test_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()

    with pytest.raises(ExportError, match="has no tokenizer"):
        load_fast(folder)


@pytest.mark.parametrize(("name", "content"), [("tokenizer.json", "{}"), ("spiece.model", "\0\0")])
def test_a_damaged_tokenizer_is_one_line(folder: Path, name: str, content: str) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / name).write_text(content)
    put(folder, "tokenizer_config.json", tokenizer_class="T5Tokenizer")

    with pytest.raises(ExportError, match=r"tokenizer in .* cannot be read") as caught:
        load_fast(folder)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_is_written_with_merges_as_strings_and_read_as_the_same(folder: Path) -> None:
    tokenizer = find_tokens(folder, read_configuration(folder), load_fast(folder))[0]
    text = written(tokenizer)

    merges = json.loads(text)["model"]["merges"]
    assert merges
    assert all(isinstance(merge, str) for merge in merges)
    assert Tokenizer.from_str(text).to_str() == tokenizer.to_str()


def test_merges_of_tokens_with_blanks_stay_pairs() -> None:
    tokenizer = Tokenizer(BPE({"a": 0, " ": 1, "a ": 2, "a a": 3}, [("a", " "), ("a ", "a")]))

    assert json.loads(written(tokenizer))["model"]["merges"] == [["a", " "], ["a ", "a"]]
    assert Tokenizer.from_str(written(tokenizer)).to_str() == tokenizer.to_str()


def test_a_tokenizer_without_merges_is_written_as_it_is() -> None:
    assert Tokenizer.from_str(written(word_piece())).to_str() == word_piece().to_str()
