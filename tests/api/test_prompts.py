"""From a prompt's text to its token ids."""

import pytest

from generation.api.prompts import LONG_TEXT, encode_text
from generation.config import Settings
from generation.errors import InvalidRequestError
from generation.model.artifact import load_tokenizer, read_config
from generation.text.tokenizer import Tokenizer


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
