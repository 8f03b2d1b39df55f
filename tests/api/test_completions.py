"""Whole answers of ``/v1/completions``, through the unmodified client, on the bundled model."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from benchmarks.server import Served, serve
from tests.support.completions import choices, model, texts, whole

PROMPT = "Once upon a time"
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 8}


def _ids(client: httpx.Client, text: str) -> list[int]:
    tokens: list[int] = client.post("/tokenize", json={"prompt": text}).json()["tokens"]
    return tokens


def test_an_answer_has_the_shape_of_openais(api: OpenAI) -> None:
    answer = whole(api, prompt=PROMPT, **GREEDY, ignore_eos=True)
    assert re.fullmatch(r"cmpl-[0-9a-f]{32}", answer.id)
    assert (answer.object, answer.model, len(answer.choices)) == ("text_completion", model(api), 1)
    assert answer.created > 1.7e9
    assert answer.system_fingerprint
    (choice,) = choices(answer)
    assert set(choice) == {"index", "text", "logprobs", "finish_reason"}
    assert (choice["index"], choice["logprobs"], choice["finish_reason"]) == (0, None, "length")
    assert answer.model_dump().keys() == {"id", "object", "created", "model", "system_fingerprint", "choices", "usage"}


def test_text_and_token_ids_are_the_same_prompt(api: OpenAI, client: httpx.Client) -> None:
    ids = _ids(client, PROMPT)
    answers = [choices(whole(api, prompt=prompt, **GREEDY)) for prompt in (PROMPT, ids, [PROMPT], [ids])]
    assert answers == [answers[0]] * 4


def test_every_prompt_of_a_list_gets_its_own_answer(api: OpenAI, client: httpx.Client) -> None:
    prompts = [PROMPT, "The dog", "She"]
    alone = [texts(whole(api, prompt=prompt, n=2, seed=3))[:2] for prompt in prompts]
    for form in (prompts, [_ids(client, prompt) for prompt in prompts]):
        answer = whole(api, prompt=form, n=2, seed=3)
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3, 4, 5]
        assert texts(answer) == [text for pair in alone for text in pair]


@pytest.mark.parametrize("prompt", [None, "", [""]])
def test_no_prompt_starts_from_the_end_of_a_text(api: OpenAI, client: httpx.Client, prompt: Any) -> None:
    vocabulary = client.get("/health").json()["model"]["vocabulary"]
    expected = texts(whole(api, prompt=[vocabulary - 1], **GREEDY))
    assert client.post("/tokenize", json={"prompt": "<|endoftext|>"}).json()["tokens"] == [vocabulary - 1]
    assert texts(whole(api, prompt=prompt, **GREEDY)) == expected


def test_a_body_without_any_field_is_a_request(client: httpx.Client) -> None:
    assert client.post("/v1/completions", json={}).json()["usage"]["prompt_tokens"] == 1


def test_null_stands_for_the_default_in_every_field(client: httpx.Client) -> None:
    from generation.api.completions_body import CompletionBody

    nulls = dict.fromkeys(CompletionBody.model_fields) | {"seed": 1, "ignore_eos": None}
    answers = [client.post("/v1/completions", json=body).json() for body in ({"seed": 1}, nulls)]
    assert answers[0]["choices"] == answers[1]["choices"]


def test_sixteen_tokens_are_the_default(api: OpenAI) -> None:
    for body in ({}, {"max_tokens": None}):
        answer = whole(api, prompt=PROMPT, ignore_eos=True, **body)
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 16


def test_usage_counts_the_tokens_of_all_prompts_and_choices(api: OpenAI, client: httpx.Client) -> None:
    prompts = [PROMPT, "She"]
    answer = whole(api, prompt=prompts, n=3, max_tokens=5, ignore_eos=True)
    prompt_tokens = sum(len(_ids(client, prompt)) for prompt in prompts)
    assert answer.usage is not None
    assert answer.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": 30,
        "total_tokens": prompt_tokens + 30,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def test_choices_differ_and_a_seed_repeats_them(api: OpenAI) -> None:
    first, again, other = (texts(whole(api, prompt=PROMPT, n=4, seed=seed)) for seed in (7, 7, -8))
    assert first == again != other
    assert len(set(first)) > 1


def test_without_a_seed_answers_differ(api: OpenAI) -> None:
    assert len({texts(whole(api, prompt=PROMPT, max_tokens=30))[0] for _ in range(3)}) > 1


def test_at_temperature_zero_the_seed_does_not_matter(api: OpenAI) -> None:
    assert len({texts(whole(api, prompt=PROMPT, seed=seed, **GREEDY))[0] for seed in (1, 2, 3)}) == 1


def test_echo_puts_the_prompt_before_the_answer(api: OpenAI, client: httpx.Client) -> None:
    prompts = [PROMPT, "naïve 🙂", ""]
    plain = texts(whole(api, prompt=prompts, **GREEDY))
    assert texts(whole(api, prompt=prompts, echo=True, **GREEDY)) == [
        p + t for p, t in zip(prompts, plain, strict=True)
    ]
    ids = _ids(client, prompts[1])
    assert texts(whole(api, prompt=ids, echo=True, **GREEDY)) == [prompts[1] + plain[1]]


def test_no_new_tokens_and_echo_return_the_prompt(api: OpenAI) -> None:
    answer = whole(api, prompt=PROMPT, echo=True, max_tokens=0, n=2)
    assert texts(answer) == [PROMPT, PROMPT]
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 0


def test_only_the_end_of_a_prompt_is_kept_when_asked(api: OpenAI, client: httpx.Client) -> None:
    ids = _ids(client, PROMPT * 200)
    kept = whole(api, prompt=ids, truncate_prompt_tokens=6, echo=True, **GREEDY)
    assert texts(kept) == texts(whole(api, prompt=ids[-6:], echo=True, **GREEDY))
    assert kept.usage is not None
    assert kept.usage.prompt_tokens == 6


def test_the_user_field_changes_nothing(api: OpenAI) -> None:
    assert texts(whole(api, prompt=PROMPT, seed=1, user="someone")) == texts(whole(api, prompt=PROMPT, seed=1))


def test_the_models_own_name_or_none_is_accepted(api: OpenAI, client: httpx.Client) -> None:
    assert whole(api, prompt=PROMPT, model=model(api), max_tokens=1).model == model(api)
    assert client.post("/v1/completions", json={"prompt": PROMPT, "max_tokens": 1}).json()["model"] == model(api)


def test_the_request_id_is_shown_to_the_client(api: OpenAI) -> None:
    answer = whole(api, prompt=PROMPT, max_tokens=1, extra_headers={"x-request-id": "mine-2"})
    assert answer._request_id == "mine-2"
    assert re.fullmatch(r"[0-9a-f]{32}", whole(api, prompt=PROMPT, max_tokens=1)._request_id or "")


@pytest.fixture(scope="module")
def keyed() -> Iterator[Served]:
    with serve("--key", "s3cret") as running:
        yield running


@pytest.mark.parametrize(
    "options", [{"default_headers": {"x-functions-key": "s3cret"}}, {"default_query": {"code": "s3cret"}}]
)
def test_a_function_key_is_passed_as_header_or_query(keyed: Served, options: dict[str, Any]) -> None:
    with openai.OpenAI(base_url=f"{keyed.url}/v1", api_key="unused", max_retries=0, **options) as one:
        assert texts(whole(one, prompt=PROMPT, max_tokens=1))


def test_without_the_key_the_client_says_that_it_is_missing(keyed: Served) -> None:
    with (
        openai.OpenAI(base_url=f"{keyed.url}/v1", api_key="s3cret", max_retries=0) as one,
        pytest.raises(openai.AuthenticationError),
    ):
        one.models.list()


def test_a_character_whose_last_byte_is_generated_is_whole_where_the_prompt_is_echoed(client: httpx.Client) -> None:
    *prompt, last = client.post("/tokenize", json={"prompt": "\u0416"}).json()["tokens"]
    assert prompt, "a character of several tokens"
    body = {"prompt": prompt, "logit_bias": {str(last): 100}, "max_tokens": 1, "temperature": 0, "echo": True}
    (choice,) = client.post("/v1/completions", json=body).json()["choices"]
    assert choice["text"] == "\u0416"
