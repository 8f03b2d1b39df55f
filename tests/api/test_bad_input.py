"""Whatever a body holds: an answer or a 400 in our own shape, never a 500, never a traceback."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.server import Served
from generation.api.bodies import GenerateBody
from generation.api.completions_body import CompletionBody

LIMIT = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Text with every character that a JSON string can hold: lone surrogates and NUL as well.
ANY_TEXT = st.text(st.characters(), max_size=60)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from([*GenerateBody.model_fields, *CompletionBody.model_fields])
PATHS = ("/generate", "/v1/completions", "/tokenize", "/detokenize")


def _refusal(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    """Return the error of a request that was refused with `status`."""
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert len(error["message"]) < 1000
    return error


def _post(client: httpx.Client, path: str, content: str | bytes) -> httpx.Response:
    return client.post(path, content=content, headers={"content-type": "application/json"})


@LIMIT
@given(ANY_TEXT)
def test_a_prompt_of_any_characters_comes_back_or_is_refused(client: httpx.Client, prompt: str) -> None:
    """json.dumps escapes what is not ASCII, lone surrogates too."""
    response = _post(client, "/generate", json.dumps({"prompt": prompt, "max_new_tokens": 1}))
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        assert _refusal(response)["code"] == "invalid_body"
    else:
        assert response.json()["generated_sequences"][0].startswith(prompt)


@LIMIT
@given(ANY_TEXT)
def test_tokenizing_and_back_is_exact(client: httpx.Client, text: str) -> None:
    sent = text.encode(errors="replace").decode().replace("<|endoftext|>", "")
    tokens = client.post("/tokenize", json={"prompt": sent}).json()["tokens"]
    assert client.post("/detokenize", json={"tokens": tokens}).json() == {"prompt": sent}


@LIMIT
@given(st.sampled_from(PATHS), ANY_JSON)
def test_any_json_has_an_answer(client: httpx.Client, path: str, value: object) -> None:
    if not isinstance(value, dict) or set(value) - {"prompt", "tokens"}:
        _refusal(_post(client, path, json.dumps(value)))


@LIMIT
@given(st.sampled_from(PATHS[:2]), st.dictionaries(FIELDS, ANY_JSON, min_size=1, max_size=3))
def test_any_value_in_a_known_field_has_an_answer(client: httpx.Client, path: str, body: dict[str, object]) -> None:
    limit = {"max_new_tokens" if path == "/generate" else "max_tokens": 1}
    response = _post(client, path, json.dumps({"prompt": "x", "timeout_s": 5} | limit | body))
    # A deadline that has passed is the only way to a 503.
    assert response.status_code in {200, 400, 404} or response.json()["error"]["code"] == "timeout", response.text
    if response.status_code == 400:
        _refusal(response)


@LIMIT
@given(st.sampled_from(PATHS), st.binary(max_size=80))
def test_any_bytes_have_an_answer(client: httpx.Client, path: str, content: bytes) -> None:
    _refusal(_post(client, path, b"\xff" + content))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "recursion limit exceeded"),
        ('{"prompt":' + "[" * 5000 + "]" * 5000 + "}", "recursion limit exceeded"),
        ('{"prompt": "\\ud800"}', "hex escape"),
        ('{"prompt": "x"', "EOF"),
        ('{"prompt": "x"} {}', "trailing"),
        ("\ufeff{}", "expected value"),
        ("", "EOF"),
        ("null", "object"),
        ('"prompt"', "object"),
    ],
)
def test_odd_json_is_refused_with_what_is_wrong(client: httpx.Client, path: str, content: str, message: str) -> None:
    error = _refusal(_post(client, path, content))
    assert error["code"] == "invalid_body"
    assert message in error["message"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("field", ["temperature", "top_k", "seed", "timeout_s", "repetition_penalty"])
def test_what_is_no_number_is_refused_by_the_name_of_its_field(client: httpx.Client, field: str, number: str) -> None:
    body = f'{{"prompt": "x", "{field}": {number}}}'
    assert _refusal(_post(client, "/generate", body))["param"] == field


@pytest.mark.parametrize("number", ["1e400", "1e308", "-0.0e0", "1" + "0" * 4400, "0." + "1" * 5000, "1E-5000"])
@pytest.mark.parametrize("field", ["temperature", "top_k", "seed", "max_new_tokens", "timeout_s"])
def test_huge_numbers_have_an_answer(client: httpx.Client, field: str, number: str) -> None:
    body = '{"prompt": "x", "timeout_s": 5, "max_new_tokens": 1, "%s": %s}' % (field, number)  # noqa: UP031
    response = _post(client, "/generate", body)
    assert response.status_code == 200 or _refusal(response)["param"] in {field, None} or number == "-0.0e0"


def test_of_a_key_that_is_given_twice_the_last_counts(client: httpx.Client) -> None:
    body = '{"prompt": "first", "prompt": "second", "max_new_tokens": 1}'
    assert _post(client, "/generate", body).json()["generated_sequences"][0].startswith("second")


def test_a_megabyte_is_refused_and_so_is_what_fits_the_body_but_not_the_window(client: httpx.Client) -> None:
    assert (
        _refusal(_post(client, "/generate", json.dumps({"prompt": "x" * (1 << 20)})), 413)["code"] == "body_too_large"
    )
    text = "word " * 200_000
    assert _refusal(_post(client, "/generate", json.dumps({"prompt": text})))["code"] == "context_length_exceeded"
    tokens = _post(client, "/tokenize", json.dumps({"prompt": text})).json()
    assert tokens["count"] > 200_000


def test_nothing_of_all_this_left_a_traceback_or_work_behind(served: Served, client: httpx.Client) -> None:
    assert not [line for line in served.log() if "Traceback" in line]
    body = {"prompt": "x", "max_new_tokens": 1, "num_return_sequences": 16, "timeout_s": 20}
    assert client.post("/generate", json=body).status_code == 200
