"""What the unmodified client raises when something is wrong, and what it can say of it."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import openai
import pytest
from openai import OpenAI

from tests.support import fake_api
from tests.support.completions import arguments, chunks, whole
from tests.support.fakes import FakeModel

PROMPT = "Once upon a time"
INVALID = "invalid_value"
PROMPT_FORMS = "must be a string, a list of strings, a list of token ids or a list of such lists, none of them empty"

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": True}, "prompt", PROMPT_FORMS),
    ({"prompt": 5}, "prompt", PROMPT_FORMS),
    ({"prompt": {}}, "prompt", PROMPT_FORMS),
    ({"prompt": []}, "prompt", PROMPT_FORMS),
    ({"prompt": [[]]}, "prompt", PROMPT_FORMS),
    ({"prompt": [[1], []]}, "prompt", PROMPT_FORMS),
    ({"prompt": [[1], "a"]}, "prompt", PROMPT_FORMS),
    ({"prompt": ["a", 1]}, "prompt", PROMPT_FORMS),
    ({"prompt": [True]}, "prompt", PROMPT_FORMS),
    ({"prompt": [None]}, "prompt", PROMPT_FORMS),
    ({"prompt": [1.0]}, "prompt", PROMPT_FORMS),
    ({"prompt": [[[1]]]}, "prompt", PROMPT_FORMS),
    ({"prompt": [5, -1]}, "prompt", "-1 is not a token id from 0 to "),
    ({"prompt": [[1], [1 << 70]]}, "prompt", f"{1 << 70} is not a token id from 0 to "),
    ({"prompt": ["a"] * 2049}, "prompt", "at most 2048 prompts"),
    ({"max_tokens": -1}, "max_tokens", "greater than or equal to 0"),
    ({"max_tokens": 1.5}, "max_tokens", "valid integer"),
    ({"max_tokens": True}, "max_tokens", "valid integer"),
    ({"max_tokens": 0}, "max_tokens", "must be at least 1 without echo"),
    ({"n": 0}, "n", "greater than or equal to 1"),
    ({"n": 129}, "n", "less than or equal to 128"),
    ({"n": 3, "best_of": 2}, "best_of", "must be at least n=3, got 2"),
    ({"best_of": 2, "stream": True}, "best_of", "cannot be more than n in a stream"),
    ({"temperature": 2.1}, "temperature", "less than or equal to 2"),
    ({"temperature": "1"}, "temperature", "valid number"),
    ({"top_p": 0}, "top_p", "greater than 0"),
    ({"top_k": -2}, "top_k", "greater than or equal to -1"),
    ({"min_p": 1.5}, "min_p", "less than or equal to 1"),
    ({"typical_p": 0}, "typical_p", "greater than 0"),
    ({"repetition_penalty": 1e-320}, "repetition_penalty", "greater than or equal to 0.01"),
    ({"frequency_penalty": 2.5}, "frequency_penalty", "less than or equal to 2"),
    ({"presence_penalty": -2.5}, "presence_penalty", "greater than or equal to -2"),
    ({"logit_bias": {"5": 101}}, "logit_bias", "a number from -100 to 100, or false, not 101"),
    ({"logit_bias": {"5": True}}, "logit_bias", "a number from -100 to 100, or false, not True"),
    ({"logit_bias": {"": 1}}, "logit_bias", "a text of 1 to 256 characters"),
    ({"logit_bias": {"x" * 257: 1}}, "logit_bias", "a text of 1 to 256 characters"),
    ({"logit_bias": [["a", 1, 2]]}, "logit_bias", "a list of pairs"),
    ({"logit_bias": [[1.5, 1]]}, "logit_bias", "a list of pairs"),
    ({"logit_bias": [[999999, 1]]}, "logit_bias", "999999 is not a token id"),
    ({"logit_bias": [["a", 1]] * 1025}, "logit_bias", "at most 1024"),
    ({"logit_bias": {"-1": 1}}, "logit_bias", "'-1' is not a token id"),
    ({"logit_bias": {"01": 1}}, "logit_bias", "'01' is not a token id"),
    ({"logit_bias": {"999999": 1}}, "logit_bias", "999999 is not a token id"),
    ({"logit_bias": {"1" * 5000: 1}}, "logit_bias", "is not a token id"),
    ({"logprobs": 21}, "logprobs", "less than or equal to 20"),
    ({"logprobs": -2}, "logprobs", "greater than or equal to -1"),
    ({"prompt_logprobs": 21}, "prompt_logprobs", "less than or equal to 20"),
    ({"stop_token_ids": [257]}, "stop_token_ids", "257 is not a token id from 0 to 256"),
    ({"allowed_token_ids": [300]}, "allowed_token_ids", "300 is not a token id from 0 to 256"),
    ({"allowed_token_ids": []}, "allowed_token_ids", "at least 1 item"),
    ({"logprob_token_ids": [300]}, "logprob_token_ids", "300 is not a token id from 0 to 256"),
    ({"bad_words": [""]}, "bad_words", "at least 1 character"),
    ({"bad_words": ["a"] * 257}, "bad_words", "at most 256 items"),
    ({"bad_words": ["  "]}, "bad_words", "spaces alone"),
    ({"priority": 1}, "priority", "only 0 is allowed"),
    ({"request_id": "a b"}, "request_id", "pattern"),
    ({"truncation_side": "middle"}, "truncation_side", "'left' or 'right'"),
    ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens", "greater than or equal to -1"),
    ({"dry_multiplier": -1}, "dry_multiplier", "greater than or equal to 0"),
    ({"xtc_probability": 2}, "xtc_probability", "less than or equal to 1"),
    ({"logprobs": True}, "logprobs", "valid integer"),
    ({"echo": 1}, "echo", "valid boolean"),
    ({"stop": ""}, "stop", "a string or a list of at most 4 strings, each of 1 to 256 characters"),
    ({"stop": ["a"] * 5}, "stop", "at most 4 strings"),
    ({"stop": ["a", None]}, "stop", "at most 4 strings"),
    ({"stream": "yes"}, "stream", "valid boolean"),
    ({"stream_options": {}}, "stream_options", "only allowed with stream=true"),
    ({"seed": 1 << 63}, "seed", "less than"),
    ({"user": "x" * 513}, "user", "at most 512 characters"),
    ({"suffix": " The end."}, "suffix", "cannot fill in between"),
    ({"min_tokens": 17}, "min_tokens", "at most max_tokens=16"),
    ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "must be -1 or at least 1"),
    ({"ignore_eos": "no"}, "ignore_eos", "valid boolean"),
    ({"timeout_s": 0}, "timeout_s", "greater than 0"),
    ({"timeout_s": 1e6}, "timeout_s", "at most 200 seconds"),
    ({"return_tokens_as_token_ids": 1}, "return_tokens_as_token_ids", "valid boolean"),
    ({"guided_choice": []}, "guided_choice", "at least 1 item"),
    ({"guided_choice": "yes"}, "guided_choice", "valid array"),
    ({"guided_choice": [""]}, "guided_choice", "at least 1 character"),
    ({"guided_regex": "x" * 2049}, "guided_regex", "at most 2048 characters"),
    ({"guided_choice": ["a"], "guided_regex": "a"}, "guided_choice", "not together with guided_regex"),
    ({"guided_choice": ["a"], "min_tokens": 1}, "min_tokens", "not together with guided_choice"),
    ({"guided_regex": "a", "ignore_eos": True}, "ignore_eos", "not together with guided_regex"),
    ({"use_beam_search": True, "temperature": 0.5}, "temperature", "must be 0 or 1, got 0.5"),
    ({"use_beam_search": True, "n": 2, "best_of": 3}, "best_of", "not together with use_beam_search"),
    ({"use_beam_search": True, "logprobs": 1}, "logprobs", "not together with use_beam_search"),
    ({"use_beam_search": True, "stop": "a"}, "stop", "not together with use_beam_search"),
    ({"use_beam_search": True, "guided_regex": "a"}, "guided_regex", "not together with use_beam_search"),
    ({"length_penalty": 2}, "length_penalty", "only with use_beam_search"),
    ({"model": 5}, "model", "valid string"),
]


@pytest.mark.parametrize(("body", "param", "says"), REFUSED, ids=[str(body)[:60] for body, _, _ in REFUSED])
async def test_a_wrong_value_is_refused_with_its_name(body: dict[str, Any], param: str, says: str) -> None:
    async with fake_api.client(fake_api.service(FakeModel())) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.post("/completions", body={"prompt": "a"} | body, cast_to=object)
    assert (caught.value.status_code, caught.value.code, caught.value.param) == (400, INVALID, param)
    assert caught.value.type == "invalid_request_error"
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("body", "param", "known"),
    [
        ({"max_token": 5}, "max_token", True),
        ({"messages": []}, "messages", True),
        ({"nothing": None}, "nothing", True),
        ({"stream": True, "stream_options": {"chunk": 1}}, "stream_options.chunk", False),
    ],
)
def test_an_unknown_field_is_never_ignored(api: OpenAI, body: dict[str, Any], param: str, known: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        whole(api, prompt=PROMPT, **body)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", param)
    assert param in caught.value.message
    assert ("known are: " in caught.value.message) == known


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


@pytest.mark.parametrize(
    ("content", "param", "says"),
    [
        (b"", None, "not valid JSON"),
        (b"[1]", None, "must be a JSON object"),
        (b'{"prompt": NaN}', "prompt", PROMPT_FORMS),
        (b'{"temperature": NaN}', "temperature", "finite number"),
        (b'{"temperature": -Infinity}', "temperature", "finite number"),
        (b'{"top_p": 1e999}', "top_p", "finite number"),
        (b'{"logit_bias": {"1": NaN}}', "logit_bias", "a number from -100 to 100"),
        (b'{"seed": 1' + b"0" * 40 + b"}", "seed", "less than"),
        (b'{"seed": 1' + b"0" * 5000 + b"}", None, "not valid JSON"),
        (b'{"prompt": ' + b"[" * 5000 + b"]" * 5000 + b"}", None, "not valid JSON"),
        (b'{"prompt": "\\ud800"}', None, "not valid JSON"),
    ],
)
def test_strange_json_is_refused(client: httpx.Client, content: bytes, param: str | None, says: str) -> None:
    response = client.post("/v1/completions", content=content)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param)
    assert says in error["message"]


class _GatedModel(FakeModel):
    """Stops before its first decode step until it is let go."""

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
