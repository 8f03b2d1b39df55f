"""The plain contract, on the bundled model under the embedded host."""

import json
from typing import Any

import httpx
import pytest
from starlette.datastructures import QueryParams

from benchmarks.server import Served
from generation.api import generate
from generation.api.bodies import GenerateBody
from generation.api.handler import answer
from tests.support import fake_api
from tests.support.http import make_request

BODY = {"prompt": "Once upon a time", "max_new_tokens": 20, "seed": 1}


def _events(response: httpx.Response) -> list[dict[str, Any]]:
    blocks = response.text.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]


def _post(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/generate", json=BODY | body)


def test_the_workshop_call_answers_as_the_workshop_did(client: httpx.Client) -> None:
    response = client.get("/generate/Once upon a time", params={"max_new_tokens": 5, "num_return_sequences": 2})
    assert response.status_code == 200
    assert list(response.json()) == ["generated_sequences"]
    sequences = response.json()["generated_sequences"]
    assert len(sequences) == 2
    assert all(sequence.startswith("Once upon a time") for sequence in sequences)


def test_the_path_and_the_body_give_the_same_answer(client: httpx.Client) -> None:
    whole = _post(client, top_p=0.9).json()["generated_sequences"]
    response = client.get("/generate/Once upon a time", params={"max_new_tokens": 20, "seed": 1, "top_p": 0.9})
    assert response.json()["generated_sequences"] == whole


@pytest.mark.parametrize("prompt", ["a/b", "50%", "a b", "naïve 🙂", "what?", "a\nb"])
def test_a_prompt_in_the_path_may_hold_anything(client: httpx.Client, prompt: str) -> None:
    url = "/generate/" + "".join(f"%{byte:02X}" for byte in prompt.encode())
    (sequence,) = client.get(url, params={"max_new_tokens": 1}).json()["generated_sequences"]
    assert sequence.startswith(prompt)


def test_without_a_prompt_it_starts_from_nothing(client: httpx.Client) -> None:
    for response in (
        client.get("/generate", params={"seed": 1}),
        client.post("/generate", json={"prompt": "", "seed": 1}),
    ):
        assert response.status_code == 200
        assert response.json()["generated_sequences"][0]


def test_the_function_key_is_no_parameter(client: httpx.Client) -> None:
    assert client.get("/generate/a", params={"max_new_tokens": 1, "code": "key"}).status_code == 200


def test_usage_and_finish_reasons_are_reported(client: httpx.Client) -> None:
    answer = _post(client, num_return_sequences=2, ignore_eos=True).json()
    assert answer["finish_reasons"] == ["length", "length"]
    assert answer["usage"]["completion_tokens"] == 40
    assert answer["usage"]["total_tokens"] == 40 + answer["usage"]["prompt_tokens"]


def test_a_seed_makes_it_repeatable_and_another_seed_different(client: httpx.Client) -> None:
    first, again, other = (_post(client, seed=seed, max_new_tokens=40).json() for seed in (1, 1, 2))
    assert first == again != other


def test_without_a_seed_answers_differ(client: httpx.Client) -> None:
    answers = {_post(client, seed=None, max_new_tokens=40).text for _ in range(3)}
    assert len(answers) > 1


@pytest.mark.parametrize(
    "body",
    [
        {"num_return_sequences": 3},
        {"do_sample": False},
        {"stop": ["e", "."]},
        {"stop": "the", "max_new_tokens": 60},
        {"return_full_text": False},
        {"prompt": "naïve 🙂", "temperature": 5.0, "top_k": 0, "max_new_tokens": 100},
        {"max_new_tokens": 200, "min_p": 0.05},
    ],
)
def test_the_stream_adds_up_to_the_whole_answer(client: httpx.Client, body: dict[str, Any]) -> None:
    whole = _post(client, **body).json()
    response = _post(client, stream=True, **body)
    assert response.headers["content-type"].startswith("text/event-stream")
    count = len(whole["generated_sequences"])
    texts, reasons = [""] * count, [None] * count
    for event in _events(response):
        assert reasons[event["index"]] is None, "nothing may follow the finish reason"
        texts[event["index"]] += event["text"]
        reasons[event["index"]] = event.get("finish_reason")
    assert texts == whole["generated_sequences"]
    assert reasons == whole["finish_reasons"]


def test_a_stop_string_never_shows(client: httpx.Client) -> None:
    response = _post(client, stop=["e"], return_full_text=False, max_new_tokens=60, stream=True)
    assert not [event for event in _events(response) if "e" in event["text"]]


def test_at_the_deadline_what_exists_is_returned(served: Served, client: httpx.Client) -> None:
    body = {"ignore_eos": True, "max_new_tokens": 450, "timeout_s": 0.05, "num_return_sequences": 16}
    answer = _post(client, **body).json()
    assert set(answer["finish_reasons"]) == {"timeout"}
    assert 0 < answer["usage"]["completion_tokens"] < 450 * 16


BAD = [
    ({"max_new_tokens": "5"}, "max_new_tokens", "valid integer"),
    ({"max_new_tokens": 0}, "max_new_tokens", "greater than or equal to 1"),
    ({"max_new_tokens": 1.5}, "max_new_tokens", "valid integer"),
    ({"max_new_tokens": 1 << 80}, "max_new_tokens", ""),
    ({"max_new_tokens": 5000}, "max_new_tokens", "context window"),
    ({"prompt": 5}, "prompt", "valid string"),
    ({"prompt": "a " * 2000}, "prompt", "context window"),
    ({"temperature": -0.1}, "temperature", "greater than or equal to 0"),
    ({"temperature": True}, "temperature", "valid number"),
    ({"top_p": 0}, "top_p", "greater than 0"),
    ({"seed": "x"}, "seed", "valid integer"),
    ({"stop": [1]}, "stop", "valid string"),
    ({"stop": ""}, "stop", "at least 1 character"),
    ({"num_return_sequences": 200}, "num_return_sequences", "at most 16 choices"),
    ({"num_beams": 65, "do_sample": False}, "num_beams", "less than or equal to 64"),
    ({"num_beams": 20, "do_sample": False}, "num_beams", "at most 16 beams"),
    ({"num_beams": 2}, "do_sample", "must be false"),
    ({"num_beams": 2, "do_sample": False, "num_return_sequences": 3}, "num_return_sequences", "at most num_beams=2"),
    ({"num_beams": 2, "do_sample": False, "stop": "a"}, "stop", "not together with num_beams"),
    ({"num_beams": 2, "do_sample": False, "repetition_penalty": 2.0}, "repetition_penalty", "not together"),
    ({"length_penalty": 2.0}, "length_penalty", "only with num_beams"),
    ({"timeout_s": 500}, "timeout_s", "at most 200"),
    ({"tempreture": 1}, "tempreture", "unknown field"),
]


@pytest.mark.parametrize(("body", "param", "says"), BAD)
def test_bad_input_is_refused_with_its_name(client: httpx.Client, body: dict[str, Any], param: str, says: str) -> None:
    response = _post(client, **body)
    error = response.json()["error"]
    assert response.status_code == 400
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert says in error["message"]
    assert _post(client).status_code == 200, "the next request works"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"text"', b"\xff", b'{"prompt": "\\ud800"}', b'{"prompt":"a","temperature":NaN}',
     b'{"prompt":"a","temperature":Infinity}', b"[" * 5000, b'{"prompt": "a", "top_p": 1e999}'],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(client: httpx.Client, content: bytes) -> None:
    response = client.post("/generate", content=content)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_body_over_the_limit_is_refused(client: httpx.Client) -> None:
    response = client.post("/generate", content=b'{"prompt": "' + b"a" * (1 << 20) + b'"}')
    assert response.status_code == 413
    assert "larger than 1048576 bytes" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("query", "param"),
    [("max_new_tokens=x", "max_new_tokens"), ("color=red", "color"), ("prompt=b", "prompt"), ("seed=1&seed=2", "seed")],
)
def test_bad_queries_are_refused_with_their_name(client: httpx.Client, query: str, param: str) -> None:
    response = client.get(f"/generate/a?{query}")
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_defaults_are_those_of_the_pipeline() -> None:
    body = GenerateBody(prompt="x")
    assert (body.max_new_tokens, body.do_sample, body.temperature, body.top_k) == (50, True, 1.0, 50)
    assert (body.num_return_sequences, body.return_full_text) == (1, True)


def test_an_answer_carries_a_request_id(client: httpx.Client) -> None:
    assert client.post("/generate", json=BODY, headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert len(client.post("/generate", json=BODY, headers={"x-request-id": "a b"}).headers["x-request-id"]) == 32


def test_the_log_has_one_line_a_request_and_no_prompt(served: Served, client: httpx.Client) -> None:
    good, bad = {"x-request-id": "log-good"}, {"x-request-id": "log-bad"}
    client.get("/generate/secretprompt", params={"max_new_tokens": 1, "code": "secretkey"}, headers=good)
    client.post("/generate", json={"prompt": "secretprompt", "max_new_tokens": "wrong"}, headers=bad)
    # Lines of one process come in order: when the last request's is there, so is every line of the first.
    served.wait_for_log("log-bad")
    lines = served.log()
    assert [sum(name in line for line in lines) for name in ("log-good", "log-bad")] == [1, 1]
    assert not [line for line in lines if "secret" in line]


def test_stop_strings_are_repeated_in_a_query(client: httpx.Client) -> None:
    for stops in ("stop=e", "stop=e&stop=a"):
        response = client.get(f"/generate/Once?seed=1&return_full_text=false&{stops}")
        assert response.status_code == 200
        assert "e" not in response.json()["generated_sequences"][0]


def test_the_key_in_a_query_may_be_repeated_and_nothing_else(client: httpx.Client) -> None:
    assert client.get("/generate/Once?max_new_tokens=1&code=a&code=b").status_code == 200
    error = client.get("/generate/Once?max_new_tokens=1&max_new_tokens=1").json()["error"]
    assert (error["param"], error["message"]) == ("max_new_tokens", "max_new_tokens is given more than once")


async def test_the_names_of_a_query_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`getlist` walks through all of them."""
    monkeypatch.setattr(QueryParams, "getlist", None)
    request = make_request()
    request.scope["query_string"] = b"&".join(b"%x" % number for number in range(10_000))
    request.scope["path_params"] = {"prompt": "a"}
    response = await answer("test", request, lambda exchange: generate.get(fake_api.service(), exchange))
    assert json.loads(bytes(response.body))["error"]["param"] == "0"
