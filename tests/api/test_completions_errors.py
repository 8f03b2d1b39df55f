"""What the unmodified client raises when a valid body cannot be served: limits, a full queue, deadlines, failures."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio
import openai
import pytest
from openai import OpenAI

from tests.support import fake_api
from tests.support.completions import arguments, chunks, whole
from tests.support.fakes import FakeModel

PROMPT = "Once upon a time"


@pytest.mark.parametrize(
    ("body", "param"), [({"max_tokens": 600}, "max_tokens"), ({"prompt": "a " * 1500, "max_tokens": 1}, "prompt")]
)
def test_more_than_the_context_is_refused_and_never_cut_off(api: OpenAI, body: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        whole(api, **{"prompt": PROMPT} | body)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", param)
    assert "context window" in caught.value.message


@pytest.mark.parametrize("param", ["n", "best_of"])
def test_more_choices_than_can_run_at_once_are_refused(api: OpenAI, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        whole(api, prompt=PROMPT, **{param: 100})
    assert (caught.value.code, caught.value.param) == ("request_too_large", param)


def test_another_model_is_not_found(api: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        whole(api, prompt=PROMPT, model="gpt-3.5-turbo-instruct")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_stream_is_refused_before_its_first_byte(api: OpenAI) -> None:
    for body in ({"temperature": 5}, {"max_tokens": 600}, {"guided_regex": "["}):
        with pytest.raises(openai.BadRequestError):
            chunks(api, prompt=PROMPT, **body)


def test_no_token_in_time_is_an_error(api: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        whole(api, prompt=PROMPT, timeout_s=1e-9)
    assert (caught.value.status_code, caught.value.code, caught.value.param) == (503, "timeout", "timeout_s")
    assert caught.value.response.headers["retry-after"] == "1"


class _GatedModel(FakeModel):
    """Stops before its first decode step until `go` is set."""

    def __init__(self) -> None:
        super().__init__(rows=1)
        self.stopped, self.go = threading.Event(), threading.Event()

    def decode(self, *arguments: Any) -> Any:
        self.stopped.set()
        self.go.wait()
        return super().decode(*arguments)


async def test_a_full_queue_is_a_rate_limit() -> None:
    gate = _GatedModel()
    service = fake_api.service(gate)
    async with fake_api.client(service) as client:
        first = asyncio.create_task(client.completions.create(model="fake", prompt=["a", "b", "c"], seed=0))
        assert await asyncio.to_thread(gate.stopped.wait, 10)
        second = asyncio.create_task(client.completions.create(model="fake", prompt="d"))
        while service.engine is None or service.engine.waiting < 2:  # noqa: ASYNC110 - single turns of the loop
            await asyncio.sleep(0)
        with pytest.raises(openai.RateLimitError) as caught:
            await client.completions.create(model="fake", prompt="e")
        gate.go.set()
        await asyncio.gather(first, second)
        await client.completions.create(model="fake", prompt="e")
    assert (caught.value.code, caught.value.type, caught.value.param) == ("overloaded", "rate_limit_error", None)
    assert int(caught.value.response.headers["retry-after"]) >= 1


def _sleeps(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> list[float]:
    """Let the client wait no time before it tries again, but do `then`; return the waits."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        then()

    monkeypatch.setattr(anyio, "sleep", sleep)
    return waits


async def test_while_the_model_loads_the_client_tries_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    loading = fake_api.service()
    waits = _sleeps(monkeypatch, lambda: setattr(loading, "_loaded", fake_api.loaded(FakeModel())))
    async with fake_api.client(loading, max_retries=2) as client:
        answer = await client.completions.create(model="fake", prompt="ab")
    assert len(answer.choices) == 1
    assert waits == [1.0], "the server's Retry-After"


async def test_a_model_that_cannot_be_served_is_an_error() -> None:
    failed = fake_api.service()
    failed.error = "config.json is missing"
    async with fake_api.client(failed) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.completions.create(model="fake", prompt="ab")
    assert (caught.value.status_code, caught.value.code, caught.value.param) == (503, "not_ready", None)
    assert "retry-after" not in caught.value.response.headers
    assert "config.json is missing" in caught.value.message


async def test_a_failed_step_is_an_error() -> None:
    model = FakeModel()
    model.fail_decode = True
    async with fake_api.client(fake_api.service(model)) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.completions.create(model="fake", prompt="ab", seed=0)
    assert (caught.value.status_code, caught.value.code) == (500, "generation_failed")


def test_a_client_that_does_not_wait_so_long_raises_its_own_error(api: OpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        whole(api, prompt=PROMPT, n=16, max_tokens=480, ignore_eos=True, timeout=0.02)
    assert whole(api, prompt=PROMPT, max_tokens=1).choices


async def test_what_a_guide_cannot_follow_any_further_is_the_requests_own_fault() -> None:
    for prompt in ("a", ["a", "b"]):
        async with fake_api.client(fake_api.service(FakeModel())) as client:
            with pytest.raises(openai.BadRequestError) as caught:
                await client.completions.create(
                    **arguments(model="fake", prompt=prompt, seed=1, guided_regex="x?(a{100}){1000}")
                )
        assert caught.value.param == "guided_regex"
        assert "too large" in caught.value.message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"logprobs": -1, "max_tokens": 400}, "logprobs"),
        ({"prompt_logprobs": -1, "prompt": "a " * 300}, "prompt_logprobs"),
    ],
)
def test_more_log_probabilities_than_an_answer_holds_are_refused(api: OpenAI, body: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        whole(api, **{"prompt": PROMPT} | body)
    assert (caught.value.code, caught.value.param) == ("request_too_large", param)


async def test_a_request_that_rules_out_every_token_is_at_fault_itself() -> None:
    async with fake_api.client(fake_api.service(FakeModel())) as client:
        with pytest.raises(openai.BadRequestError, match="rule out all"):
            await client.completions.create(
                **arguments(model="fake", prompt="a", allowed_token_ids=[97], bad_words=["a"])
            )
