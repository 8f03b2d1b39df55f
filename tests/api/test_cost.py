"""What a request may cost is computed, and refused, before any work is done for it."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import httpx
import pytest

from benchmarks.server import Served
from generation.api import completions, generate, responses, tokenize
from generation.api.cost import Cost, least_tokens
from generation.api.handler import answer
from generation.api.logprobs import Report
from generation.config import Settings
from generation.engine.request import Token
from generation.errors import TooLargeError
from generation.service import Service
from tests.support import fake_api
from tests.support.fakes import FakeModel
from tests.support.http import body_message, make_request

SETTINGS = Settings(max_cost=1024)


@pytest.mark.parametrize(
    ("cost", "tokens"),
    [
        (Cost(1, 10, 1, 20), 10 + 20 + 20),
        (Cost(3, 30, 4, 20), 30 + 240 + 240),
        (Cost(1, 10, 4, 20, echo=True), 10 + 80 + 80 + 40),
        (Cost(1, 10, 1, 20, logprobs=0), 10 + 20 + 20 * 2),
        (Cost(2, 20, 4, 0, echo=True, logprobs=5), 20 + 80 * 7),
        (Cost(1, 10, 2, 0, prompt_logprobs=3), 10 + 20 * 5),
    ],
)
def test_what_is_computed_and_what_is_reported_count(cost: Cost, tokens: int) -> None:
    assert cost.tokens == tokens


def test_the_bound_itself_is_allowed() -> None:
    Cost(1, 24, 1, 500).check(SETTINGS)
    with pytest.raises(TooLargeError):
        Cost(1, 25, 1, 500).check(SETTINGS)


@pytest.mark.parametrize(
    ("cost", "param", "says"),
    [
        (
            Cost(200, 800, 2, 50),
            "prompt",
            "prompt (200, with at least 800 tokens in all), n=2, max_tokens=50: this costs",
        ),
        (Cost(1, 9, 16, 500, fields=("prompt", "best_of", "max_tokens")), "best_of", "best_of=16"),
        (Cost(1, 9, 1, 900), "max_tokens", "more than the 1024 of MAX_COST"),
        (Cost(1, 400, 1, 0, echo=True, logprobs=5), "max_tokens", "the prompt in the answer, logprobs=5"),
        (Cost(1, 9, 17, 1), "n", "n: at most 16 choices can run at once, got 17"),
    ],
)
def test_a_refusal_names_the_fields_and_the_bound(cost: Cost, param: str, says: str) -> None:
    with pytest.raises(TooLargeError) as caught:
        cost.check(SETTINGS)
    assert says in caught.value.message
    assert caught.value.param == param


def test_a_text_has_as_many_tokens_as_its_length_asks_for_at_least() -> None:
    assert least_tokens(["", "abc", "abcdefg", (1, 2, 3)], 3) == 1 + 1 + 3 + 3
    assert least_tokens(["abcdefg"], None) == 1


class _Untouched:
    """A tokenizer that must not be used."""

    vocabulary, longest = 257, 4

    def encode(self, text: str) -> list[int]:
        raise AssertionError(f"{len(text)} characters were tokenized")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(fake_api, "tokenizer", _Untouched)
    return fake_api.service(FakeModel())


async def _error(service: Service, operation: Any, body: dict[str, Any]) -> dict[str, Any]:
    request = make_request(body_message(json.dumps(body).encode()))
    response = await answer("test", request, lambda exchange: operation(service, exchange))
    await asyncio.to_thread(service.stop)
    assert response.status_code == 400
    error: dict[str, Any] = json.loads(bytes(response.body))["error"]
    return error


LONG = "the " * 508
REPORT = {"echo": True, "logprobs": 5, "max_tokens": 0}


@pytest.mark.parametrize(
    ("operation", "body", "code"),
    [
        (completions.post, {"prompt": [LONG] * 272, "n": 4} | REPORT, "request_too_large"),
        (completions.post, {"prompt": ["a"] * 272, "n": 4, "max_tokens": 1 << 20}, "request_too_large"),
        (completions.post, {"prompt": "a" * 1_000_000}, "context_length_exceeded"),
        (completions.post, {"prompt": [[2], [1] * 5000]}, "context_length_exceeded"),
        (generate.post, {"prompt": "a" * 1_000_000}, "context_length_exceeded"),
        (generate.post, {"prompt": "a", "num_return_sequences": 17}, "request_too_large"),
    ],
)
async def test_what_cannot_be_is_refused_before_it_is_tokenized(
    service: Service, operation: Any, body: dict[str, Any], code: str
) -> None:
    assert (await _error(service, operation, body))["code"] == code


async def test_a_text_to_tokenize_is_bounded_too(service: Service) -> None:
    object.__setattr__(service.settings, "max_cost", 1024)
    error = await _error(service, tokenize.tokenize, {"prompt": "a" * (512 * 4 + 1)})
    assert (error["code"], error["param"]) == ("request_too_large", "prompt")


def test_a_report_that_would_fill_the_memory_is_refused(client: httpx.Client, served: Served) -> None:
    response = client.post("/v1/completions", json={"prompt": [LONG] * 130, "n": 16} | REPORT)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "request_too_large", "prompt")
    assert "MAX_COST" in error["message"]


async def test_the_report_on_a_prompt_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    genuine = Report.add_prompt

    def add_prompt(self: Report, tokens: Iterable[Token], alternatives: int) -> None:
        made.append(1)
        genuine(self, tokens, alternatives)

    monkeypatch.setattr(Report, "add_prompt", add_prompt)
    async with fake_api.client(fake_api.service(FakeModel())) as api:
        completion = await api.completions.create(
            model="fake", prompt=["abc", "de"], n=4, echo=True, logprobs=1, max_tokens=1, seed=1
        )
    assert len(made) == 2
    reports = [choice.logprobs.tokens for choice in completion.choices if choice.logprobs and choice.logprobs.tokens]
    assert [tokens[:3] for tokens in reports[:4]] == [["a", "b", "c"]] * 4


async def test_the_failure_of_one_prompt_leaves_the_others_their_answers() -> None:
    model = FakeModel()
    model.poison = ord("x")
    async with fake_api.client(fake_api.service(model)) as api:
        whole = await api.completions.create(model="fake", prompt=["ab", "xy"], max_tokens=4, seed=1)
        events = [
            event
            async for event in await api.completions.create(
                model="fake", prompt=["ab", "xy"], max_tokens=4, seed=1, stream=True
            )
        ]
    streamed = {0: "", 1: ""}
    ends: dict[int, str] = {}
    for event in events:
        for choice in event.choices:
            streamed[choice.index] += choice.text
            ends |= {choice.index: choice.finish_reason} if choice.finish_reason else {}
    assert [choice.text for choice in whole.choices] == list(streamed.values())
    assert [str(choice.finish_reason) for choice in whole.choices] == [ends[0], ends[1]]
    assert (streamed[1], ends[1]) == ("", "error")
    assert streamed[0] != ""
    responses.Completion.model_validate(whole.model_dump(exclude_unset=True))
    for event in events:
        responses.CompletionEvent.model_validate(event.model_dump(exclude_unset=True))
