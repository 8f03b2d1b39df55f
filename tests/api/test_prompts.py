"""From a prompt's text to its token ids."""

import pytest

from generation.api.prompts import LONG_TEXT, check_ids, encode, encode_text
from generation.config import Settings
from generation.errors import InvalidRequestError
from generation.model.artifact import load_tokenizer, read_config
from generation.text.context import ContextTokenizer
from generation.text.tokenizer import Tokenizer
from tests.support.tokenizers import holed, unigram


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(Settings().model_dir, read_config(Settings().model_dir))


@pytest.mark.parametrize("text", ["the cat", "the cat " * LONG_TEXT])
async def test_a_text_of_any_length_is_encoded(tokenizer: Tokenizer, text: str) -> None:
    assert await encode_text(tokenizer, text) == tokenizer.encode(text)


@pytest.mark.parametrize("text", ["\ud800", "a" * LONG_TEXT + "\ud800"])
async def test_half_a_surrogate_pair_is_the_prompts_fault(tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^prompt: .* surrogate") as caught:
        await encode_text(tokenizer, text)
    assert caught.value.param == "prompt"


async def test_an_empty_prompt_starts_from_the_models_beginning_of_text() -> None:
    tokenizer = ContextTokenizer(unigram(), begin_of_text=1)
    tokenizer.encode = lambda *_, **__: []  # type: ignore[method-assign]
    assert await encode(tokenizer, "") == (1,)


async def test_an_empty_prompt_is_refused_where_the_model_has_no_beginning() -> None:
    tokenizer = ContextTokenizer(unigram())
    tokenizer.encode = lambda *_, **__: []  # type: ignore[method-assign]
    with pytest.raises(InvalidRequestError, match="prompt: must not be empty"):
        await encode(tokenizer, "")


@pytest.mark.parametrize("ids", [[], [0, 1], [2, 5]])
def test_tokens_are_accepted(ids: list[int]) -> None:
    check_ids(holed(), ids, "prompt", "prompt")


@pytest.mark.parametrize(("ids", "place", "token"), [([0, 3], 1, 3), ([6], 0, 6), ([1, -1, 3], 1, -1)])
def test_ids_that_are_no_tokens_are_refused(ids: list[int], place: int, token: int) -> None:
    """Past the end of the vocabulary, and in holes in it: 3 and 4."""
    with pytest.raises(InvalidRequestError, match=rf"^tokens\.{place}: {token} is not a token id from 0 to 5$"):
        check_ids(holed(), ids, "tokens", "tokens.{}")
