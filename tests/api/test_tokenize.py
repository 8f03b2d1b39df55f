"""Text to token ids and back, over HTTP."""

from typing import Any

import httpx
import pytest

from generation.config import Settings
from generation.text import loading

TEXTS = ["Once upon a time", "naïve 🙂 日本語", " \n\t", "", "<|endoftext|>", "a" * 5000]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:20]))
def test_tokens_are_those_of_the_tokenizer(client: httpx.Client, text: str) -> None:
    tokenizer = loading.load(Settings.from_environment().model_dir / "tokenizer.json")
    answer = client.post("/tokenize", json={"prompt": text}).json()
    ids = tokenizer.encode(text)
    assert answer == {
        "tokens": ids,
        "pieces": [tokenizer.piece(token) for token in ids],
        "count": len(ids),
        "max_context": client.get("/health").json()["model"]["context"],
    }


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:20]))
def test_the_way_back_gives_the_text(client: httpx.Client, text: str) -> None:
    tokens = client.post("/tokenize", json={"prompt": text}).json()["tokens"]
    answer = client.post("/detokenize", json={"tokens": tokens})
    assert answer.json() == {"prompt": "" if text == "<|endoftext|>" else text}


def test_parts_of_a_character_show_as_replacements(client: httpx.Client) -> None:
    answer = client.post("/tokenize", json={"prompt": "\U00010348"}).json()
    assert answer["count"] > 1
    assert set(answer["pieces"]) == {"\ufffd"}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("tokenize", {}, "prompt"),
        ("tokenize", {"prompt": ["a"]}, "prompt"),
        ("tokenize", {"prompt": "a", "add_special_tokens": True}, "add_special_tokens"),
        ("detokenize", {}, "tokens"),
        ("detokenize", {"tokens": "a"}, "tokens"),
        ("detokenize", {"tokens": [1.0]}, "tokens"),
        ("detokenize", {"tokens": [True]}, "tokens"),
        ("detokenize", {"tokens": [-1]}, "tokens"),
        ("detokenize", {"tokens": [0, 1 << 70]}, "tokens"),
    ],
)
def test_a_wrong_body_is_refused_with_the_name(
    client: httpx.Client, path: str, body: dict[str, Any], param: str
) -> None:
    response = client.post(f"/{path}", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
