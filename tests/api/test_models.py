"""The list of models through the unmodified client, and the refusal of chat requests."""

import httpx
import openai
import pytest
from openai import OpenAI

from generation import __version__


def test_the_list_has_the_served_model(api: OpenAI, client: httpx.Client) -> None:
    (card,) = api.models.list().data
    served = client.get("/health").json()["model"]
    assert (card.id, card.object, card.owned_by) == (served["name"], "model", "distilgpt2-functions")
    assert card.created > 1.7e9
    assert card.model_dump()["max_model_len"] == served["context"]
    assert (card.model_dump()["root"], card.model_dump()["parent"]) == (served["name"], None)
    assert client.get("/v1/models").json()["object"] == "list"


def test_a_model_is_described_by_its_name(api: OpenAI) -> None:
    (card,) = api.models.list().data
    assert api.models.retrieve(card.id) == card


@pytest.mark.parametrize("name", ["gpt-3.5-turbo-instruct", "a b", "é"])
def test_another_model_is_not_found(api: OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        api.models.retrieve(name)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert api.models.list().data[0].id in caught.value.message


def test_a_chat_request_is_refused_with_the_route_to_call_instead(api: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        api.chat.completions.create(model="any", messages=[{"role": "user", "content": "Hello"}])
    assert (caught.value.status_code, caught.value.param) == (400, "messages")
    assert "not a chat model" in caught.value.message
    assert "/api/v1/completions" in caught.value.message


def test_the_version_is_that_of_the_package(client: httpx.Client) -> None:
    assert client.get("/version").json() == {"version": __version__}
