"""A tokenizer made here, the bundled model's, and the real DistilGPT2's where it can be had, against `transformers`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from generation.config import ROOT, Settings
from generation.text import loading
from generation.text.byte_level import ByteDetokenizer, ByteLevelTokenizer
from generation.text.context import ContextTokenizer
from generation.text.tokenizer import Tokenizer, TokenizerError

END_OF_TEXT = "<|endoftext|>"

if TYPE_CHECKING:
    from transformers import GPT2TokenizerFast

DISTILGPT2 = Path(os.environ.get("DISTILGPT2_DIR") or ROOT / "models" / "distilgpt2-files")
TEXTS = ["", " ", "Once upon a time", "naïve café 🙂 日本語", "a\n\n b\t", "<|endoftext|>after", "x" * 300, "\x00\x7f"]


def _small(alphabet: list[str] | None = None) -> tokenizers.Tokenizer:
    """Train a byte-level BPE of the GPT-2 kind: all bytes, some merges, also within characters, and end-of-text."""
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet is None else alphabet,
        show_progress=False,
    )
    inner.train_from_iterator(["the cat and the hat, naïve café, 日本語 日本 🙂🙃 and then the end"] * 4, trainer)
    inner.add_special_tokens([END_OF_TEXT])
    return inner


def _saved(inner: tokenizers.Tokenizer, folder: Path) -> Path:
    path = folder / "tokenizer.json"
    inner.save(str(path))
    return path


@pytest.fixture(scope="module", params=["small", "bundled", "distilgpt2"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "small":
        return _saved(_small(), tmp_path_factory.mktemp("small"))
    folder = Settings().model_dir if request.param == "bundled" else DISTILGPT2
    if not (folder / "tokenizer.json").exists():
        pytest.skip(f"the tokenizer of {request.param} is not here; DISTILGPT2_DIR says where the real one is")
    return folder / "tokenizer.json"


@pytest.fixture(scope="module")
def tokenizer(path: Path) -> Tokenizer:
    return loading.load(path)


@pytest.fixture(scope="module")
def theirs(path: Path) -> "GPT2TokenizerFast":
    from transformers import GPT2TokenizerFast

    return GPT2TokenizerFast(tokenizer_file=str(path))


@pytest.fixture(scope="module")
def small() -> ByteLevelTokenizer:
    return ByteLevelTokenizer(_small())


@pytest.mark.parametrize("text", TEXTS)
def test_it_agrees_with_transformers(tokenizer: Tokenizer, theirs: "GPT2TokenizerFast", text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids == theirs.encode(text)
    assert tokenizer.decode(ids) == theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@given(text=st.text())
def test_any_text_comes_back_as_it_was(tokenizer: Tokenizer, theirs: "GPT2TokenizerFast", text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids == theirs.encode(text)
    assert tokenizer.decode(ids) == text.replace(END_OF_TEXT, "")


@given(data=st.data())
def test_any_tokens_have_the_text_that_transformers_gives_them(
    tokenizer: Tokenizer, theirs: "GPT2TokenizerFast", data: st.DataObject
) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocabulary - 1), max_size=12))
    expected = theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert tokenizer.decode(ids) == expected


@given(data=st.data())
def test_one_at_a_time_gives_the_same_text(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocabulary - 1)))
    detokenizer = tokenizer.detokenizer()
    parts = [detokenizer.push(token) for token in ids]
    assert "".join(parts) + detokenizer.flush() == tokenizer.decode(ids)


@given(data=st.binary())
def test_any_bytes_one_at_a_time_give_the_text_of_all(data: bytes, small: ByteLevelTokenizer) -> None:
    token_of = {small.token_bytes(token): token for token in range(256)}
    ids = [token_of[bytes([byte])] for byte in data]
    detokenizer = small.detokenizer()
    text = "".join(map(detokenizer.push, ids)) + detokenizer.flush()
    assert text == small.decode(ids) == data.decode(errors="replace")


def test_half_a_character_waits() -> None:
    detokenizer = ByteDetokenizer(lambda token: bytes([token]))
    assert [detokenizer.push(byte) for byte in "é🙂".encode()] == ["", "é", "", "", "", "🙂"]
    assert detokenizer.push(0xE2) == ""
    assert detokenizer.flush() == "\ufffd"


def test_a_special_token_has_a_name_and_no_text(tokenizer: Tokenizer) -> None:
    (end,) = tokenizer.encode("<|endoftext|>")
    assert tokenizer.token_bytes(end) == b""
    assert tokenizer.special(end)
    assert tokenizer.piece(end) == "<|endoftext|>"
    assert not tokenizer.special(tokenizer.encode("a")[0])


def test_a_piece_is_its_text_or_a_replacement(small: ByteLevelTokenizer) -> None:
    assert [small.piece(token) for token in small.encode("the é")] == ["the", " ", "é"]
    half = next(token for token in range(256) if small.token_bytes(token) == b"\xc3")
    assert small.piece(half) == "\ufffd"


def test_the_tokens_cover_every_byte(tokenizer: Tokenizer) -> None:
    known = {tokenizer.token_bytes(token) for token in range(tokenizer.vocabulary)}
    assert {bytes([byte]) for byte in range(256)} <= known


@pytest.mark.parametrize("offset", [0, 1, 1 << 40])
def test_what_is_no_token_has_no_bytes(small: ByteLevelTokenizer, offset: int) -> None:
    for token in (small.vocabulary + offset, -1 - offset):
        with pytest.raises(IndexError, match=f"^{token} is not a token id from 0 to {small.vocabulary - 1}$"):
            small.token_bytes(token)


def test_half_a_surrogate_pair_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match="surrogate"):
        tokenizer.encode("a\ud800b")


def test_nothing_is_cut_off_or_filled_up_whatever_the_file_says(tmp_path: Path) -> None:
    inner = _small()
    inner.enable_truncation(3)
    inner.enable_padding(length=50)
    tokenizer = loading.load(_saved(inner, tmp_path))
    assert tokenizer.decode(tokenizer.encode("the cat and the hat")) == "the cat and the hat"
    assert len(tokenizer.encode("the cat and the hat")) < 50


def test_an_added_token_stands_for_its_own_text(tmp_path: Path) -> None:
    inner = _small()
    inner.add_tokens([AddedToken("éé", normalized=False)])
    tokenizer = loading.load(_saved(inner, tmp_path))
    assert tokenizer.encode("éé") == [tokenizer.vocabulary - 1]
    assert tokenizer.decode(tokenizer.encode("éé")) == "éé"


def test_a_token_that_is_not_written_in_bytes_stands_for_its_own_text() -> None:
    inner = _small()
    last = inner.get_vocab_size()
    inner.model = models.BPE(inner.get_vocab(with_added_tokens=False) | {"日": last}, [])
    assert ByteLevelTokenizer(inner).token_bytes(last) == "日".encode()


@pytest.mark.parametrize("content", [None, "", "{}", "not json"])
def test_a_broken_file_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        loading.load(path)


def test_a_bpe_on_characters_is_decoded_in_context(tmp_path: Path) -> None:
    inner = _small()
    inner.decoder = decoders.BPEDecoder()
    assert isinstance(loading.load(_saved(inner, tmp_path)), ContextTokenizer)


def test_a_byte_without_a_token_is_refused_where_a_text_has_it(tmp_path: Path) -> None:
    """The library would drop it from the prompt without a word."""
    tokenizer = loading.load(_saved(_small(_without("Y", "Z")), tmp_path))
    assert tokenizer.decode(tokenizer.encode("the cat")) == "the cat"
    with pytest.raises(TokenizerError, match="no token for byte 0x59"):
        tokenizer.encode("the ZY cat")


def test_a_byte_without_a_token_is_the_unknown_token_where_there_is_one(tmp_path: Path) -> None:
    inner = _small(_without("Y"))
    inner.model.unk_token = "a"  # noqa: S105
    assert loading.load(_saved(inner, tmp_path)).encode("Y") == [inner.token_to_id("a")]


def test_the_longest_token_bounds_the_tokens_of_a_text_from_below() -> None:
    tokenizer = ByteLevelTokenizer(_small())
    sizes = [len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocabulary)]
    assert tokenizer.longest == max(*sizes, len(END_OF_TEXT))


@pytest.mark.parametrize("change", ["normalizer", "token"])
def test_where_text_is_taken_out_its_length_says_nothing(change: str) -> None:
    inner = _small()
    if change == "normalizer":
        inner.normalizer = tokenizers.normalizers.Strip()
    else:
        inner.add_special_tokens([tokenizers.AddedToken("<pad>", rstrip=True)])
    assert ByteLevelTokenizer(inner).longest is None


def _without(*letters: str) -> list[str]:
    return sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(letters))


def test_another_number_of_tokens_is_refused(tmp_path: Path) -> None:
    path = _saved(_small(), tmp_path)
    size = loading.load(path).vocabulary
    with pytest.raises(TokenizerError, match=rf"tokenizer\.json cannot be used: it has {size} tokens, not {size - 2}"):
        loading.load(path, vocabulary=size, holes=[3, 4])


def test_an_id_in_a_hole_is_no_token(tmp_path: Path) -> None:
    inner = _small()
    size = inner.get_vocab_size()
    spread = inner.to_str().replace(f'"id":{size - 1},', f'"id":{size + 1},').replace(f'"{END_OF_TEXT}":{size - 1}', "")
    path = _saved(tokenizers.Tokenizer.from_str(spread), tmp_path)
    tokenizer = loading.load(path, vocabulary=size + 2, holes=[size - 1, size])
    assert [tokenizer.has(size + there) for there in range(-2, 3)] == [True, False, False, True, False]
    assert not tokenizer.has(-1)
    with pytest.raises(IndexError, match=f"{size} is not a token id"):
        tokenizer.decode([size])
