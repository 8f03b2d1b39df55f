"""The bundled model's tokenizer, and the real DistilGPT2's where it can be had, against `transformers`."""

import os
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from generation.config import ROOT, Settings
from generation.tokenizer import Detokenizer, Tokenizer, TokenizerError

DISTILGPT2 = Path(os.environ.get("DISTILGPT2_DIR", ROOT.parent / "shared" / "data" / "distilgpt2"))
TEXTS = ["", " ", "Once upon a time", "naïve café 🙂 日本語", "a\n\n b\t", "<|endoftext|>after", "x" * 300, "\x00\x7f"]


@pytest.fixture(scope="module", params=["bundled", "distilgpt2"])
def path(request: pytest.FixtureRequest) -> Path:
    folder = Settings().model_dir if request.param == "bundled" else DISTILGPT2
    if not (folder / "tokenizer.json").exists():
        pytest.skip(f"the tokenizer of {request.param} is not here; DISTILGPT2_DIR says where the real one is")
    return folder / "tokenizer.json"


@pytest.fixture(scope="module")
def tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.load(path)


@pytest.mark.parametrize("text", TEXTS)
def test_it_agrees_with_transformers(path: Path, tokenizer: Tokenizer, text: str) -> None:
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(path))
    ids = tokenizer.encode(text)
    assert ids == theirs.encode(text)
    assert tokenizer.decode(ids) == theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@given(st.text())
def test_text_comes_back_as_it_was(text: str) -> None:
    tokenizer = Tokenizer.load(Settings().model_dir / "tokenizer.json")
    if "<|endoftext|>" not in text:
        assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.lists(st.integers(0, 4095)))
def test_one_at_a_time_gives_the_same_text(ids: list[int]) -> None:
    tokenizer = Tokenizer.load(Settings().model_dir / "tokenizer.json")
    detokenizer = Detokenizer(tokenizer)
    parts = [detokenizer.push(token) for token in ids]
    assert "".join(parts) + detokenizer.flush() == tokenizer.decode(ids)


def test_half_a_character_waits() -> None:
    class Bytes:
        def token_bytes(self, token: int) -> bytes:
            return bytes([token])

    detokenizer = Detokenizer(Bytes())
    assert [detokenizer.push(byte) for byte in "é🙂".encode()] == ["", "é", "", "", "", "🙂"]
    assert detokenizer.push(0xE2) == ""
    assert detokenizer.flush() == "\ufffd"


def test_end_of_text_is_a_token_without_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("<|endoftext|>") == [tokenizer.end_of_text]
    assert tokenizer.token_bytes(tokenizer.end_of_text) == b""
    assert tokenizer.piece(tokenizer.end_of_text) == "<|endoftext|>"


def test_the_tokens_cover_every_byte(tokenizer: Tokenizer) -> None:
    known = {tokenizer.token_bytes(token) for token in range(tokenizer.vocabulary)}
    assert {bytes([byte]) for byte in range(256)} <= known


def test_half_a_surrogate_pair_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match="surrogate"):
        tokenizer.encode("a\ud800b")


@pytest.mark.parametrize("content", [None, "", "{}", "not json"])
def test_a_broken_file_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        Tokenizer.load(path)


def test_a_tokenizer_of_another_kind_is_refused(tmp_path: Path) -> None:
    inner = tokenizers.Tokenizer(models.WordLevel({"日本": 0, "<|endoftext|>": 1}, unk_token="日本"))  # noqa: S106
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(" "), "removed")
    inner.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="byte-level"):
        Tokenizer.load(tmp_path / "tokenizer.json")
