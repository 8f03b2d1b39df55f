"""Streams of ``/v1/completions``: they add up to the whole answer, for every request."""

import asyncio
import json
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI

from benchmarks.server import Served
from tests.support import fake_api
from tests.support.completions import arguments, choices, chunks, joined, model, texts, whole
from tests.support.fakes import FakeModel

PROMPT = "Once upon a time"


@pytest.mark.parametrize(
    "body",
    [
        {"seed": 1, "max_tokens": 30},
        {"seed": 1, "n": 3, "best_of": 3, "stop": [" a", "e"]},
        {"prompt": [PROMPT, "naïve 🙂"], "n": 2, "seed": 2, "echo": True, "logprobs": 2},
        {"prompt": [[10, 20, 30]], "max_tokens": 0, "echo": True, "logprobs": 1},
        {"temperature": 2.0, "seed": 3, "max_tokens": 100, "logprobs": 0, "return_tokens_as_token_ids": True},
        {"guided_regex": "[a-z ]{3,30}\\.", "seed": 4, "max_tokens": 40},
    ],
)
def test_a_stream_adds_up_to_the_whole_answer(api: OpenAI, body: dict[str, Any]) -> None:
    asked = {"prompt": PROMPT} | body
    assert joined(chunks(api, **asked)) == choices(whole(api, **asked))


_bodies = st.fixed_dictionaries(
    {
        "prompt": st.one_of(
            st.text("abé", max_size=6),
            st.lists(st.text("ab", max_size=4), min_size=1, max_size=3),
            st.lists(st.integers(0, 256), min_size=1, max_size=5),
        ),
        "max_tokens": st.integers(1, 25),
        "seed": st.integers(0, 5),
    },
    optional={
        "n": st.integers(1, 3),
        "echo": st.just(value=True),
        "logprobs": st.integers(0, 3),
        "stop": st.lists(st.sampled_from(["e", "st", "é", "\ufffd", "ab", "nt", "i"]), min_size=1, max_size=4),
        "temperature": st.sampled_from([0, 0.5, 2]),
        "ignore_eos": st.booleans(),
        "return_tokens_as_token_ids": st.booleans(),
        # Makes the two bytes of é likely, in this order and in others.
        "logit_bias": st.just({"195": 7, "169": 7}),
    },
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(_bodies)
def test_any_stream_adds_up_to_the_whole_answer(body: dict[str, Any]) -> None:
    async def ask() -> None:
        async with fake_api.client(fake_api.service(FakeModel())) as client:
            asked = arguments(model="fake", **body)
            answer = await client.completions.create(**asked)
            stream = await client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
            events = [event async for event in stream]
        assert joined(events) == choices(answer)
        assert events[-1].usage == answer.usage

    asyncio.run(ask())


def test_every_event_has_the_shape_of_the_whole_answer(api: OpenAI) -> None:
    answer = whole(api, prompt=PROMPT, seed=1, n=2)
    events = chunks(api, prompt=PROMPT, seed=1, n=2)
    assert len(events) > 2
    assert len({event.id for event in events}) == 1
    for event in events:
        assert event.model_dump().keys() == answer.model_dump().keys()
        assert (event.object, event.model) == (answer.object, answer.model)
        assert event.system_fingerprint == answer.system_fingerprint
        (part,) = choices(event)
        assert part.keys() == choices(answer)[0].keys()


def test_the_usage_comes_in_an_event_of_its_own(api: OpenAI) -> None:
    answer = whole(api, prompt=PROMPT, seed=1)
    events = chunks(api, prompt=PROMPT, seed=1, stream_options={"include_usage": True, "include_obfuscation": False})
    assert [event.usage for event in events[:-1]] == [None] * (len(events) - 1)
    assert "usage" in events[0].model_fields_set, "null, and not left out"
    assert events[-1].choices == []
    assert events[-1].usage == answer.usage


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}])
def test_without_being_asked_for_there_is_no_usage(api: OpenAI, options: dict[str, bool] | None) -> None:
    events = chunks(api, prompt=PROMPT, max_tokens=3, stream_options=options)
    assert all("usage" not in event.model_fields_set and event.choices for event in events)


def test_events_end_with_a_blank_line_and_the_stream_with_done(client: httpx.Client) -> None:
    response = client.post("/v1/completions", json={"prompt": PROMPT, "stream": True, "max_tokens": 3})
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, nothing = response.text.split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    assert all(json.loads(event.removeprefix("data: "))["object"] == "text_completion" for event in events)


def test_a_stop_string_across_tokens_never_shows(api: OpenAI) -> None:
    body = {"prompt": PROMPT, "seed": 1, "max_tokens": 40, "ignore_eos": True}
    (plain,) = choices(whole(api, **body, logprobs=0))
    text, boundaries = plain["text"], sorted({*plain["logprobs"]["text_offset"]} - {0})
    for boundary in boundaries[5:30:5]:
        stop = text[boundary - 1 : boundary + 2]
        (part,) = joined(chunks(api, **body, stop=stop))
        assert (part["text"], part["finish_reason"]) == (text[: text.index(stop)], "stop")
        assert part["text"] == texts(whole(api, **body, stop=["never to be seen", stop]))[0]


def test_the_echo_comes_first(api: OpenAI) -> None:
    events = chunks(api, prompt=PROMPT, echo=True, max_tokens=4)
    assert events[0].choices[0].text.startswith(PROMPT)


async def test_the_asynchronous_client_reads_streams_too(served: Served, api: OpenAI) -> None:
    asked: dict[str, Any] = {"model": model(api), "prompt": PROMPT, "seed": 1}
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="unused") as client:
        events = [event async for event in await client.completions.create(**asked, stream=True)]
        answer = await client.completions.create(**asked)
    assert joined(events) == choices(answer)


class _FailingModel(FakeModel):
    def decode(self, *arguments: Any) -> Any:
        raise RuntimeError("decode fails")


async def test_an_error_in_mid_stream_is_raised_by_the_client() -> None:
    async with fake_api.client(fake_api.service(_FailingModel())) as client:
        stream = await client.completions.create(model="fake", prompt="ab", seed=0, stream=True)
        assert (await anext(stream)).choices
        with pytest.raises(openai.APIError) as caught:
            await anext(stream)
    assert (caught.value.code, caught.value.type, caught.value.param) == ("generation_failed", "server_error", None)
