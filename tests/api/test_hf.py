"""Hugging Face's text generation through its own client, unmodified, on the bundled model under the embedded host."""

import json
import math
from typing import Any

import httpx
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import OverloadedError, ValidationError

from benchmarks.server import Served
from generation.api.hf_body import HfBody
from generation.api.hf_errors import error_form
from generation.api.hf_response import HfResponse
from generation.engine.request import STOP, TIMEOUT, GenerationRequest, Token, Update
from generation.errors import ApiError, DeadlineError, GenerationFailedError, NotReadyError, UnauthorizedError
from generation.errors import OverloadedError as Overloaded
from tests.support import fake_api
from tests.support.fakes import END

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def hf(served: Served) -> Any:
    return InferenceClient(model=f"{served.url}/hf", timeout=60)


@pytest.fixture
def post(client: httpx.Client) -> Any:
    def send(**body: Any) -> httpx.Response:
        parameters = {"max_new_tokens": 12} | body.pop("parameters", {})
        return client.post("/hf", json={"inputs": PROMPT, "parameters": parameters} | body)

    return send


def _greedy(client: httpx.Client, tokens: int = 12) -> str:
    body = {"prompt": PROMPT, "max_new_tokens": tokens, "do_sample": False, "return_full_text": False}
    return str(client.post("/generate", json=body).json()["generated_sequences"][0])


def test_without_sampling_it_is_greedy(hf: Any, client: httpx.Client) -> None:
    assert hf.text_generation(PROMPT, max_new_tokens=12) == _greedy(client)
    assert hf.text_generation(PROMPT, max_new_tokens=12, return_full_text=True) == PROMPT + _greedy(client)


def test_the_default_is_a_hundred_tokens_or_what_the_context_has_room_for(post: Any) -> None:
    details = {"details": True, "max_new_tokens": None}
    assert post(parameters=details).json()[0]["details"]["generated_tokens"] <= 100
    long = post(inputs="a " * 450, parameters=details | {"decoder_input_details": True}).json()[0]["details"]
    assert (long["finish_reason"], long["generated_tokens"]) == ("length", 512 - len(long["prefill"]))


@pytest.mark.parametrize("given", [{"temperature": 0.9}, {"top_k": 3}, {"top_p": 0.9}, {"typical_p": 0.9}])
def test_a_field_of_sampling_makes_it_sample(client: httpx.Client, hf: Any, given: dict[str, Any]) -> None:
    theirs = hf.text_generation(PROMPT, max_new_tokens=12, seed=5, **given)
    body = {"prompt": PROMPT, "max_new_tokens": 12, "seed": 5, "top_k": 0, "return_full_text": False} | given
    assert theirs == client.post("/generate", json=body).json()["generated_sequences"][0]


def test_do_sample_alone_samples_and_the_seed_that_it_reports_repeats_it(hf: Any) -> None:
    first = hf.text_generation(PROMPT, max_new_tokens=12, do_sample=True, details=True)
    again = hf.text_generation(PROMPT, max_new_tokens=12, do_sample=True, details=True, seed=first.details.seed)
    assert again == first
    other = hf.text_generation(PROMPT, max_new_tokens=12, do_sample=True, details=True)
    assert other.details.seed != first.details.seed


@pytest.mark.parametrize("field", ["stop", "stop_sequences"])
def test_a_stop_string_ends_the_text_and_is_part_of_it(post: Any, client: httpx.Client, field: str) -> None:
    stop = _greedy(client)[4:7]
    answer = post(parameters={field: [stop], "details": True}).json()[0]
    assert answer["generated_text"] == _greedy(client)[: _greedy(client).index(stop) + 3]
    assert answer["details"]["finish_reason"] == "stop_sequence"


def test_details_have_the_tokens_of_the_text_and_of_the_prompt(hf: Any, client: httpx.Client) -> None:
    answer = hf.text_generation(PROMPT, max_new_tokens=12, details=True, decoder_input_details=True, top_n_tokens=2)
    details = answer.details
    assert "".join(token.text for token in details.tokens) == answer.generated_text == _greedy(client)
    assert (details.finish_reason, details.generated_tokens, details.seed) == ("length", 12, None)
    assert [token.id for token in details.prefill] == client.post("/tokenize", json={"prompt": PROMPT}).json()["tokens"]
    assert details.prefill[0].logprob is None
    assert all(token.logprob < 0 for token in details.prefill[1:])
    for token, top in zip(details.tokens, details.top_tokens, strict=True):
        first, second = top
        assert (first["id"], first["text"], first["logprob"]) == (token.id, token.text, token.logprob)  # greedy
        assert second["logprob"] <= first["logprob"]


def test_without_details_there_is_only_the_text(post: Any) -> None:
    assert list(post().json()[0]) == ["generated_text"]


@pytest.mark.parametrize("parameters", [{}, {"temperature": 0.8, "seed": 3}, {"top_n_tokens": 3}, {"stop": ["w"]}])
def test_the_events_of_a_stream_add_up_to_the_whole(hf: Any, parameters: dict[str, Any]) -> None:
    whole = hf.text_generation(PROMPT, max_new_tokens=12, details=True, **parameters)
    events = list(hf.text_generation(PROMPT, max_new_tokens=12, details=True, stream=True, **parameters))
    assert [event.token.id for event in events] == [token.id for token in whole.details.tokens]
    assert [event.index for event in events] == list(range(1, len(events) + 1))
    assert "".join(event.token.text for event in events) == events[-1].generated_text == whole.generated_text
    assert all(event.generated_text is None and event.details is None for event in events[:-1])
    ended = events[-1].details
    assert (ended.finish_reason, ended.generated_tokens, ended.seed) == (
        whole.details.finish_reason,
        whole.details.generated_tokens,
        whole.details.seed,
    )
    assert ended.input_length > 0
    if parameters.get("top_n_tokens"):
        assert [event.top_tokens for event in events] == whole.details.top_tokens


def test_a_stream_without_details_is_the_text(hf: Any, client: httpx.Client) -> None:
    assert "".join(hf.text_generation(PROMPT, max_new_tokens=12, stream=True)) == _greedy(client)


def test_a_stream_has_no_event_that_is_no_json(client: httpx.Client) -> None:
    response = client.post("/hf", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 3}, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(one.removeprefix("data: ")) for one in response.text.split("\n\n")[:-1]]
    assert len(events) == 3


def test_the_best_of_several_has_the_highest_mean_logprob(hf: Any) -> None:
    answer = hf.text_generation(PROMPT, max_new_tokens=12, temperature=1.2, seed=1, best_of=4, details=True)
    assert len(answer.details.best_of_sequences) == 3
    ranked = [answer.details, *answer.details.best_of_sequences]
    means = [sum(token.logprob for token in one.tokens) / len(one.tokens) for one in ranked]
    assert means == sorted(means, reverse=True)
    plain = hf.text_generation(PROMPT, max_new_tokens=12, temperature=1.2, seed=1, best_of=4)
    assert plain == answer.generated_text


def test_truncate_keeps_the_end_of_the_prompt(hf: Any) -> None:
    whole = hf.text_generation(
        "x " * 2000 + PROMPT, max_new_tokens=4, truncate=4, details=True, decoder_input_details=True
    )
    assert "".join(token.text for token in whole.details.prefill) == PROMPT


SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "grammar",
    [
        {"type": "json", "value": SCHEMA},
        {"type": "json", "value": json.dumps(SCHEMA)},
        {"type": "json_schema", "value": {"name": "answer", "schema": SCHEMA}},
    ],
)
def test_a_grammar_makes_it_json(hf: Any, grammar: Any) -> None:
    assert json.loads(hf.text_generation(PROMPT, max_new_tokens=40, grammar=grammar))["ok"] in (True, False)


def test_a_grammar_may_be_a_regular_expression(hf: Any) -> None:
    grammar: Any = {"type": "regex", "value": "[0-9]{3}-[a-f]{2}"}
    answer = hf.text_generation(PROMPT, max_new_tokens=40, grammar=grammar, details=True)
    assert (len(answer.generated_text), answer.details.finish_reason) == (6, "eos_token")
    last = answer.details.tokens[-1]
    assert (last.special, last.text) == (True, "<|endoftext|>")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"parameters": {"temperature": 0}}, "parameters.temperature"),
        ({"parameters": {"top_k": 0}}, "parameters.top_k"),
        ({"parameters": {"max_new_tokens": 5000}}, "max_new_tokens is 5000"),
        ({"parameters": {"colour": 1}}, "parameters.colour"),
        ({"colour": 1}, "colour"),
        ({"inputs": None}, "inputs is required"),
        ({"inputs": "x" * 90_000}, "90000 characters"),
        ({"parameters": {"watermark": True}}, "parameters.watermark"),
        ({"parameters": {"adapter_id": "a"}}, "parameters.adapter_id"),
        ({"parameters": {"best_of": 2}}, "parameters.best_of"),
        ({"parameters": {"best_of": 2, "do_sample": True}, "stream": True}, "parameters.best_of"),
        ({"parameters": {"best_of": 100, "do_sample": True}}, "parameters.best_of"),
        ({"parameters": {"decoder_input_details": True}, "stream": True}, "parameters.decoder_input_details"),
        ({"parameters": {"grammar": {"type": "json", "value": "{"}}}, "parameters.grammar.value"),
        ({"parameters": {"grammar": {"type": "json_schema", "value": {"name": "a"}}}}, "parameters.grammar.value"),
        ({"parameters": {"grammar": {"type": "regex", "value": {}}}}, "parameters.grammar.value"),
        ({"parameters": {"grammar": {"type": "regex", "value": "("}}}, "parameters.grammar.value"),
        ({"parameters": {"grammar": {"type": "yaml", "value": "a"}}}, "parameters.grammar.type"),
    ],
    ids=str,
)
def test_a_wrong_request_is_refused_in_their_form(post: Any, body: dict[str, Any], named: str) -> None:
    response = post(**body)
    assert response.status_code == 422, response.text
    assert list(response.json()) == ["error", "error_type"]
    assert response.json()["error_type"] == "validation"
    assert named in response.json()["error"]
    assert response.headers["x-request-id"]


def test_the_client_raises_its_own_error(hf: Any) -> None:
    with pytest.raises(ValidationError, match=r"parameters\.top_p"):
        hf.text_generation(PROMPT, top_p=2.0)


def test_null_is_the_default_of_every_field(post: Any) -> None:
    nulls = dict.fromkeys(HfBody.model_fields["parameters"].annotation.model_fields)  # type: ignore[union-attr]
    assert post(parameters=nulls | {"max_new_tokens": 12}, stream=None).json() == post().json()
    assert post(parameters={}).json() == post().json()


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Overloaded("busy"), 429, "overloaded"),
        (NotReadyError("loading"), 503, "overloaded"),
        (UnauthorizedError("no key"), 401, "validation"),
        (GenerationFailedError("a step failed"), 424, "generation"),
        (DeadlineError("late"), 503, "incomplete_generation"),
        (ApiError("unexpected"), 500, "incomplete_generation"),
    ],
)
def test_every_error_has_a_status_and_a_type_of_theirs(error: ApiError, status: int, kind: str) -> None:
    assert error_form(error) == (status, {"error": error.message, "error_type": kind})


def test_a_model_that_is_loading_is_overload_to_the_client() -> None:
    """The client raises its error from the type alone."""
    from huggingface_hub.inference._common import raise_text_generation_error

    status, content = error_form(NotReadyError("loading", retry_after_s=1))
    from requests import HTTPError, Response

    response = Response()
    response.status_code, response._content = status, json.dumps(content).encode()
    with pytest.raises(OverloadedError, match="loading"):
        raise_text_generation_error(HTTPError(response=response))


def _response(**parameters: Any) -> HfResponse:
    body = HfBody.model_validate({"inputs": "once", "parameters": parameters})
    asked = GenerationRequest(tuple(b"once"), 8, logprobs=0)
    return HfResponse(body, asked, fake_api.tokenizer())


def _data(text: str) -> list[dict[str, Any]]:
    return [json.loads(one.removeprefix("data: ")) for one in text.split("\n\n")[:-1]]


def test_bytes_of_a_character_are_tokens_and_the_last_has_the_character() -> None:
    tokens = tuple(Token(byte, 0, -1.0) for byte in "é".encode())
    events = _data(_response().event(Update(0, "é", tokens)))
    assert [event["token"]["text"] for event in events] == ["", "é"]


def test_a_deadline_between_two_tokens_ends_the_stream_with_a_special_token() -> None:
    response = _response()
    response.event(Update(0, "a", (Token(97, 0, -1.0),)))
    (event,) = _data(response.event(Update(0, "", (), TIMEOUT, 1)))
    assert event["token"] == {"id": END, "text": "", "logprob": 0.0, "special": True}
    assert (event["generated_text"], event["details"]["finish_reason"]) == ("a", "length")


def test_what_a_stop_string_held_back_at_the_deadline_is_text_of_the_last_event() -> None:
    response = _response(stop=["bc"])
    response.event(Update(0, "a", (Token(97, 0, -1.0),)))
    (event,) = _data(response.event(Update(0, "b", (), TIMEOUT, 1)))
    assert (event["token"]["text"], event["token"]["special"], event["generated_text"]) == ("b", False, "ab")


def test_what_cannot_be_is_a_number_json_has() -> None:
    (event,) = _data(_response().event(Update(0, "a", (Token(97, 0, -math.inf),), STOP, 1)))
    assert event["token"]["logprob"] == -9999.0
