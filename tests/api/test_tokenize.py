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
        "token_strs": None,
        "count": len(ids),
        "max_context": client.get("/health").json()["model"]["context"],
        "max_model_len": client.get("/health").json()["model"]["context"],
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
        ("tokenize", {"prompt": "a", "add_special_tokens": 1}, "add_special_tokens"),
        ("tokenize", {"prompt": "a", "return_token_strs": 1}, "return_token_strs"),
        ("tokenize", {"messages": []}, "prompt"),
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


def test_tokens_may_be_shown_as_the_vocabulary_has_them(client: httpx.Client) -> None:
    answer = client.post("/tokenize", json={"prompt": "Once upon", "return_token_strs": True}).json()
    assert answer["token_strs"] == ["Once", "Ġupon"]
    assert answer["pieces"] == ["Once", " upon"]


@pytest.mark.parametrize("add", [True, False])
def test_this_tokenizer_adds_no_special_tokens(client: httpx.Client, add: bool) -> None:
    plain = client.post("/tokenize", json={"prompt": "Once"}).json()
    assert client.post("/tokenize", json={"prompt": "Once", "add_special_tokens": add}).json() == plain


@pytest.mark.parametrize(("path", "body"), [("tokenize", {"prompt": "Once"}), ("detokenize", {"tokens": [1, 2]})])
def test_the_model_may_be_named(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    name = client.get("/v1/models").json()["data"][0]["id"]
    assert client.post(f"/{path}", json=body | {"model": name}).json() == client.post(f"/{path}", json=body).json()
    other = client.post(f"/{path}", json=body | {"model": "gpt-9"})
    assert (other.status_code, other.json()["error"]["code"]) == (404, "model_not_found")


def test_the_tokenizer_is_described_as_a_remote_tokenizer_reads_it(client: httpx.Client) -> None:
    """What lm-eval asks with `tokenizer_backend=remote`."""
    info = client.get("/tokenizer_info").json()
    assert (info["eos_token"], info["bos_token"], info["pad_token"]) == ("<|endoftext|>", "<|endoftext|>", None)
    assert info["model_max_length"] == client.get("/health").json()["model"]["context"]
    encoded = client.post("/tokenize", json={"prompt": info["eos_token"], "add_special_tokens": False}).json()
    assert len(encoded["tokens"]) == 1
