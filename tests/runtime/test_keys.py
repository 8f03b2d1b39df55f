"""Keys: function keys, as the platform asks for them, and API keys, which the app asks for."""

import httpx
import openai
import pytest

from tests.runtime.conftest import API_KEYS, Host
from tests.runtime.launch import KEY
from tests.support.cases import CASES, Case

KEYED = {case.path.split("?")[0]: case for case in CASES if case.keyed}.values()


@pytest.mark.parametrize("case", KEYED, ids=lambda case: case.path)
def test_a_route_that_costs_is_refused_without_the_key(case: Case, host: Host) -> None:
    for headers in ({}, {"x-functions-key": "wrong"}, {"x-functions-key": ""}):
        refused = httpx.request(case.verb, host.url + case.path, content=case.content, headers=headers)
        assert (refused.status_code, refused.content) == (401, b"")


def test_the_key_may_come_in_the_query(host: Host) -> None:
    answer = httpx.get(f"{host.url}/generate/Once", params={"code": KEY, "max_new_tokens": 1})
    assert answer.status_code == 200


def test_the_header_goes_before_the_query(host: Host) -> None:
    answer = httpx.get(f"{host.url}/v1/models", params={"code": KEY}, headers={"x-functions-key": "wrong"})
    assert answer.status_code == 401


@pytest.mark.parametrize("path", [case.path for case in CASES if not case.keyed])
def test_health_needs_no_key(path: str, host: Host) -> None:
    assert httpx.get(host.url + path).status_code == 200


@pytest.mark.parametrize("case", KEYED, ids=lambda case: case.path)
def test_a_route_that_costs_is_refused_without_an_api_key(case: Case, bearer_host: Host) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"x-functions-key": API_KEYS.split(",")[0]}):
        headers |= {"x-request-id": "mine"}
        refused = httpx.request(case.verb, bearer_host.url + case.path, content=case.content, headers=headers)
        assert (refused.status_code, refused.headers["x-request-id"]) == (401, "mine")
        assert refused.headers["www-authenticate"] == "Bearer"
        error = refused.json()["error"]  # an object in OpenAI's form, a text in Hugging Face's
        assert "API key" in (error if isinstance(error, str) else error["message"])


@pytest.mark.parametrize("path", [case.path for case in CASES if not case.keyed])
def test_health_needs_no_api_key(path: str, bearer_host: Host) -> None:
    assert httpx.get(bearer_host.url + path).status_code == 200


@pytest.mark.parametrize("key", API_KEYS.split(","))
def test_a_client_needs_a_base_url_and_one_of_the_keys(key: str, bearer_host: Host) -> None:
    with openai.OpenAI(base_url=f"{bearer_host.url}/v1", api_key=key, max_retries=0) as client:
        model = client.models.list().data[0].id
        assert client.completions.create(model=model, prompt="Once", max_tokens=1).choices[0].text


def test_a_client_with_a_wrong_key_says_so(bearer_host: Host) -> None:
    with (
        openai.OpenAI(base_url=f"{bearer_host.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.models.list()
    assert (caught.value.code, caught.value.type) == ("invalid_api_key", "invalid_request_error")


def test_no_api_key_is_logged(bearer_host: Host) -> None:
    for key in (*API_KEYS.split(","), "wrong-key-of-the-tests"):
        headers = {"authorization": f"Bearer {key}", "x-request-id": f"logged-{key[:3]}"}
        httpx.get(f"{bearer_host.url}/v1/models", headers=headers)
    log = "".join(bearer_host.log(1))
    assert "key-of-the-tests" not in log


def test_the_document_asks_for_the_bearer_token(bearer_host: Host) -> None:
    document = httpx.get(f"{bearer_host.url}/openapi.json").json()
    assert document["paths"]["/v1/completions"]["post"]["security"] == [{"bearer": []}]
