"""Tokenizers that are not byte-level, against `transformers` and against the whole text decoded at once."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from generation.text import loading
from generation.text.context import LONGEST, ContextTokenizer
from generation.text.tokenizer import Tokenizer
from tests.support.tokenizers import unigram, word_piece

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEXTS = ["", "the cat", "The cat, and the hat!", "人は日本語です", "a 🙂 b", "the  cat", "xyzzy 7"]


@pytest.fixture(scope="module", params=["word_piece", "unigram"])
def inner(request: pytest.FixtureRequest) -> tokenizers.Tokenizer:
    return {"word_piece": word_piece, "unigram": unigram}[request.param]()


@pytest.fixture(scope="module")
def tokenizer(inner: tokenizers.Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    inner.save(str(path))
    return loading.load(path)


@pytest.fixture(scope="module")
def theirs(inner: tokenizers.Tokenizer) -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=inner, clean_up_tokenization_spaces=False)


def test_it_is_decoded_in_context(tokenizer: Tokenizer) -> None:
    assert isinstance(tokenizer, ContextTokenizer)
    assert not tokenizer.byte_level


@pytest.mark.parametrize("text", TEXTS)
def test_it_agrees_with_transformers(tokenizer: Tokenizer, theirs: "PreTrainedTokenizerFast", text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids == theirs.encode(text)
    assert tokenizer.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


@given(text=st.text(alphabet="the catàhd人語🙂,.! "), cut=st.integers(0, 40))
@example(text="à人à", cut=4)  # the last tokens of the prompt begin in the middle of a character
def test_a_prompt_and_its_stream_are_the_whole_text(tokenizer: Tokenizer, text: str, cut: int) -> None:
    ids = tokenizer.encode(text)
    # A prompt is text, so it does not end in the middle of a character.
    while cut < len(ids) and tokenizer.decode(ids[:cut]).endswith("\ufffd"):
        cut += 1
    detokenizer = tokenizer.detokenizer(ids[:cut])
    parts = [detokenizer.push(token) for token in ids[cut:]]
    assert tokenizer.decode(ids[:cut]) + "".join(parts) + detokenizer.flush() == tokenizer.decode(ids)


@given(data=st.data())
def test_any_tokens_that_make_characters_are_the_whole_text(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocabulary - 1), max_size=50))
    detokenizer = tokenizer.detokenizer()
    text, whole = "".join(map(detokenizer.push, ids)) + detokenizer.flush(), tokenizer.decode(ids)
    # Of bytes that are no character, the library replaces also those before them that are one.
    assert text == whole or "\ufffd" in whole


def test_a_character_in_byte_tokens_comes_whole() -> None:
    tokenizer = ContextTokenizer(unigram())
    ids = tokenizer.encode("a🙂b")
    detokenizer = tokenizer.detokenizer(ids[:2])
    parts = [detokenizer.push(token) for token in ids[2:]]
    assert [part for part in parts if part] == ["🙂", "b"]
    assert not any("\ufffd" in part for part in parts)


def test_half_a_character_at_the_end_is_replaced() -> None:
    tokenizer = ContextTokenizer(unigram())
    detokenizer = tokenizer.detokenizer()
    assert detokenizer.push(tokenizer._inner.token_to_id("<0xF0>")) == ""
    assert detokenizer.flush() == "\ufffd"


def test_bytes_that_are_no_character_do_not_wait_for_ever() -> None:
    tokenizer = ContextTokenizer(unigram())
    detokenizer = tokenizer.detokenizer()
    byte = tokenizer._inner.token_to_id("<0xFF>")
    assert "\ufffd" in "".join(detokenizer.push(byte) for _ in range(6))


def test_few_tokens_are_decoded_together() -> None:
    """Also where tokens have no text, so that a token costs the same at the end of a long text."""
    sizes: list[int] = []
    tokenizer = ContextTokenizer(word_piece())
    decode = tokenizer.decode
    tokenizer.decode = lambda ids: sizes.append(len(list(ids))) or decode(ids)  # type: ignore[method-assign,func-returns-value]
    detokenizer = tokenizer.detokenizer()
    (token,) = (i for i in range(tokenizer.vocabulary) if tokenizer._inner.id_to_token(i) == "##")
    for _ in range(4 * LONGEST):
        detokenizer.push(token)
    assert max(sizes) <= 2 * LONGEST


def test_special_tokens_have_names_and_no_text(tokenizer: Tokenizer) -> None:
    (end,) = (i for i in range(tokenizer.vocabulary) if tokenizer.piece(i) in {"[SEP]", "</s>"})
    assert tokenizer.special(end)
    assert tokenizer.token_bytes(end) == b""
    assert tokenizer.detokenizer().push(end) == ""


def test_a_piece_shows_what_a_token_adds() -> None:
    tokenizer = ContextTokenizer(word_piece())
    ids = tokenizer.encode("the cats")
    assert [tokenizer.piece(token) for token in ids] == ["[CLS]", " the", " cat", "s", "[SEP]"]


def test_what_is_no_token_is_refused(tokenizer: Tokenizer) -> None:
    for call in (tokenizer.token_bytes, lambda token: tokenizer.decode([token])):
        with pytest.raises(IndexError, match="is not a token id"):
            call(tokenizer.vocabulary)


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    word_piece().save(str(path))
    assert loading.load(path).encode("the cat") == word_piece().encode("the cat").ids
