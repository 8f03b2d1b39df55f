"""Fields that clients bring from vLLM's server, with its meaning, whole and streamed."""

import json
from typing import Any

import httpx
import pytest
from openai import OpenAI

from benchmarks.server import serve
from generation.engine.sequence import score
from tests.support import fake_api
from tests.support.completions import arguments, choices, chunks, joined, texts, whole
from tests.support.fakes import END, FakeModel, logits_after

PROMPT = "Once upon a time"
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 8, "ignore_eos": True}


async def _both(**body: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the choices of an answer, and the parts of the same as a stream."""
    asked = arguments(**{"model": "fake", "prompt": "once", "seed": 1} | body)
    async with fake_api.client(fake_api.service(FakeModel())) as client:
        answer = await client.completions.create(**asked)
        stream = await client.completions.create(**asked, stream=True)
        parts = [choice for event in [event async for event in stream] for choice in choices(event)]
    return choices(answer), parts


async def _plain(tokens: int) -> str:
    ((choice,), _) = await _both(**GREEDY | {"max_tokens": tokens})
    return str(choice["text"])


async def test_a_stop_token_ends_a_choice_and_its_text_may_be_included() -> None:
    text = await _plain(8)
    stop = {"stop_token_ids": [ord(text[4])]}
    place = text.index(text[4])
    for include, expected in ((False, text[:place]), (True, text[: place + 1])):
        whole_, parts = await _both(**GREEDY, **stop, include_stop_str_in_output=include)
        assert (whole_[0]["text"], whole_[0]["finish_reason"]) == (expected, "stop")
        assert "".join(part["text"] for part in parts) == expected


async def test_the_stop_string_may_be_included() -> None:
    text = await _plain(8)
    whole_, parts = await _both(**GREEDY, stop=text[3:5], include_stop_str_in_output=True)
    assert whole_[0]["text"] == "".join(part["text"] for part in parts) == text[: text.index(text[3:5]) + 2]


async def test_no_stop_string_before_the_least_number_of_tokens() -> None:
    text = await _plain(8)
    whole_, _ = await _both(**GREEDY, stop=text[1], min_tokens=5)
    place = text.find(text[1], 5)
    assert whole_[0]["text"] == (text if place < 0 else text[:place])


async def test_special_tokens_are_left_out_unless_asked_for() -> None:
    body = {"logit_bias": {str(END): 100}, "max_tokens": 2, "ignore_eos": True}
    assert (await _both(**body))[0][0]["text"] == ""
    whole_, parts = await _both(**body, skip_special_tokens=False)
    assert whole_[0]["text"] == "".join(part["text"] for part in parts) == "<|endoftext|>" * 2
    ((echoed,), _) = await _both(prompt=[97, END], echo=True, max_tokens=1, skip_special_tokens=False)
    assert echoed["text"].startswith("a<|endoftext|>")


@pytest.mark.parametrize("field", ["spaces_between_special_tokens", "add_special_tokens"])
async def test_a_field_without_effect_on_this_tokenizer_changes_nothing(field: str) -> None:
    assert (await _both(**{field: False}))[0] == (await _both(**{field: True}))[0] == (await _both())[0]


async def test_token_ids_are_those_of_prompt_and_choice() -> None:
    whole_, parts = await _both(**GREEDY, n=2, return_token_ids=True)
    for choice in whole_:
        assert choice["prompt_token_ids"] == list(b"once")
        assert bytes(choice["token_ids"]).decode(errors="replace") == choice["text"]
    assert [part.get("prompt_token_ids") for part in parts[:2]] == [list(b"once")] * 2
    assert all("prompt_token_ids" not in part for part in parts[2:])
    for index in (0, 1):
        streamed = [token for part in parts if part["index"] == index for token in part["token_ids"]]
        assert streamed == whole_[index]["token_ids"]


async def test_token_ids_hold_what_a_stop_string_cut_off() -> None:
    text = await _plain(8)
    place = next(place for place in range(1, 7) if text[place : place + 2].isascii())
    stop = text[place : place + 2]
    ((choice,), parts) = await _both(**GREEDY, stop=stop, return_token_ids=True)
    assert bytes(choice["token_ids"]).decode(errors="replace") == text[: text.index(stop) + 2]
    assert not choice["text"].endswith(stop)
    assert [token for part in parts for token in part["token_ids"]] == choice["token_ids"]


async def test_log_probabilities_of_the_prompt() -> None:
    whole_, parts = await _both(prompt_logprobs=2, max_tokens=2)
    report = whole_[0]["prompt_logprobs"]
    assert report[0] is None
    for place in (1, 2, 3):
        token = b"once"[place]
        logprob, alternatives, rank = score(logits_after(list(b"once"[:place])), token, 2)
        assert next(iter(report[place])) == str(token)
        assert report[place][str(token)] == {"logprob": logprob, "rank": rank, "decoded_token": chr(token)}
        others = [(int(key), one["logprob"]) for key, one in report[place].items() if int(key) != token]
        assert others == [pair for pair in alternatives.items() if pair[0] != token]
        assert {one["rank"] for key, one in report[place].items() if int(key) != token} <= {1, 2}
    assert parts[0]["prompt_logprobs"] == report
    assert all("prompt_logprobs" not in part for part in parts[1:])
    assert whole_[0]["logprobs"] is None


async def test_the_prompt_alone_may_be_scored() -> None:
    whole_, _ = await _both(prompt_logprobs=0, max_tokens=0)
    assert (whole_[0]["text"], [len(one or ()) for one in whole_[0]["prompt_logprobs"]]) == ("", [0, 1, 1, 1])


async def test_the_two_reports_on_a_prompt_have_as_many_alternatives_as_asked_for_each() -> None:
    ((choice,), _) = await _both(prompt_logprobs=3, logprobs=1, echo=True, max_tokens=1)
    assert {len(one) for one in choice["prompt_logprobs"][1:]} <= {3, 4}
    assert {len(one) for one in choice["logprobs"]["top_logprobs"][1:]} <= {1, 2}


async def test_all_log_probabilities() -> None:
    ((choice,), _) = await _both(logprobs=-1, prompt_logprobs=-1, max_tokens=1, return_tokens_as_token_ids=True)
    assert len(choice["logprobs"]["top_logprobs"][0]) == 257
    assert len(choice["prompt_logprobs"][1]) == 257


async def test_log_probabilities_of_named_tokens() -> None:
    ((choice,), _) = await _both(logprob_token_ids=[65, 66], max_tokens=1, return_tokens_as_token_ids=True)
    (top,) = choice["logprobs"]["top_logprobs"]
    (chosen,) = choice["logprobs"]["tokens"]
    _, expected, _ = score(logits_after(list(b"once")), 0, 0, [65, 66])
    assert list(top) == [chosen, "token_id:65", "token_id:66"]
    assert [top["token_id:65"], top["token_id:66"]] == list(expected.values())
    ((both,), _) = await _both(logprob_token_ids=[65], logprobs=2, max_tokens=1)
    assert set(both["logprobs"]["top_logprobs"][0]) >= {"A"}
    assert len(both["logprobs"]["top_logprobs"][0]) >= 3


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"truncate_prompt_tokens": 3}, slice(-3, None)),
        ({"truncate_prompt_tokens": 3, "truncation_side": "left"}, slice(-3, None)),
        ({"truncate_prompt_tokens": 3, "truncation_side": "right"}, slice(3)),
        ({"truncate_prompt_tokens": 9000}, slice(None)),
        ({"truncate_prompt_tokens": -1}, slice(-(4096 - 16), None)),
        ({"truncate_prompt_tokens": -1, "truncation_side": "right"}, slice(4096 - 16)),
    ],
    ids=str,
)
async def test_a_prompt_is_cut_where_it_is_asked_for(fields: dict[str, Any], kept: slice) -> None:
    prompt = list(b"once upon a time" * 300) if fields["truncate_prompt_tokens"] == -1 else list(b"once upon")
    whole_, _ = await _both(prompt=prompt, return_token_ids=True, **fields)
    assert whole_[0]["prompt_token_ids"] == prompt[kept]


def test_the_usage_so_far_comes_with_every_event(api: OpenAI) -> None:
    for options in ({"continuous_usage_stats": True}, {"include_usage": True, "continuous_usage_stats": True}):
        body: dict[str, Any] = {"prompt": PROMPT, "n": 2, "seed": 1}
        *events, last = chunks(api, **body, stream_options=options)
        counts = [(event.choices[0].index, event.usage.completion_tokens) for event in events if event.usage]
        assert len(counts) == len(events)
        for index in (0, 1):
            of_choice = [count for number, count in counts if number == index]
            assert of_choice == sorted(of_choice)
        assert last.usage is not None
        ends = dict(counts)
        assert last.usage.completion_tokens == sum(ends.values())
        assert last.choices == []


def test_the_usage_so_far_may_come_without_the_last_event(api: OpenAI) -> None:
    options = {"include_usage": False, "continuous_usage_stats": True}
    events = chunks(api, prompt=PROMPT, max_tokens=3, stream_options=options)
    assert all(event.usage and event.choices for event in events)


def test_the_usage_says_what_came_from_the_prefix_cache_and_a_salt_keeps_it_apart() -> None:
    """A chunk of 16 tokens is the least that is kept."""
    with serve(PREFILL_CHUNK="16") as running, httpx.Client(base_url=running.url, timeout=60) as client:

        def cached(**body: Any) -> int:
            answer = client.post("/v1/completions", json={"prompt": PROMPT * 10, "max_tokens": 1} | body)
            count: int = answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
            return count

        assert cached() == 0
        assert (again := cached()) >= 16
        assert again % 16 == 0
        assert [cached(cache_salt="mine"), cached(cache_salt="mine"), cached(cache_salt="yours")] == [0, again, 0]
        body = {"prompt": PROMPT * 10, "max_tokens": 1, "stream": True, "stream_options": {"include_usage": True}}
        *_, last, _, _ = client.post("/v1/completions", json=body).text.split("\n\n")
        assert json.loads(last.removeprefix("data: "))["usage"]["prompt_tokens_details"] == {"cached_tokens": again}


def test_the_request_names_its_answer(api: OpenAI) -> None:
    assert whole(api, prompt=PROMPT, max_tokens=1, request_id="mine-3").id == "cmpl-mine-3"
    assert {event.id for event in chunks(api, prompt=PROMPT, request_id="mine-4")} == {"cmpl-mine-4"}


def test_fields_that_are_accepted_change_nothing(api: OpenAI) -> None:
    plain = texts(whole(api, prompt=PROMPT, seed=1))
    assert texts(whole(api, prompt=PROMPT, seed=1, priority=0, session_id="s", cache_salt="c", best_of=0)) == plain


def test_best_of_zero_is_as_many_as_n(api: OpenAI) -> None:
    body: dict[str, Any] = {"prompt": PROMPT, "n": 2, "seed": 1, "best_of": 0}
    assert len(texts(whole(api, **body))) == 2
    assert [one["text"] for one in joined(chunks(api, **body))] == texts(whole(api, **body))


def test_words_are_kept_out_with_and_without_a_space_before(api: OpenAI) -> None:
    plain = texts(whole(api, prompt=PROMPT, **GREEDY | {"max_tokens": 30}))[0]
    word = plain.split()[2]
    assert word not in texts(whole(api, prompt=PROMPT, bad_words=[word], **GREEDY | {"max_tokens": 30}))[0].split()


def test_beams_are_the_choices_of_a_prompt(api: OpenAI) -> None:
    body: dict[str, Any] = {
        "prompt": [PROMPT, "She"],
        "n": 3,
        "use_beam_search": True,
        "max_tokens": 6,
        "temperature": 0,
    }
    answer = whole(api, **body)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3, 4, 5]
    assert len({choice.text for choice in answer.choices}) == 6
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 36
    assert joined(chunks(api, **body)) == choices(answer)
    assert texts(whole(api, **body)) == texts(answer)


def test_beams_of_the_plain_contract_are_the_same(api: OpenAI, client: httpx.Client) -> None:
    beams = texts(whole(api, prompt=PROMPT, n=4, use_beam_search=True, max_tokens=6, length_penalty=0.5))
    body = {"prompt": PROMPT, "num_beams": 4, "num_return_sequences": 2, "do_sample": False, "max_new_tokens": 6}
    body |= {"length_penalty": 0.5, "return_full_text": False}
    answer = client.post("/generate", json=body).json()
    assert answer["generated_sequences"] == beams[:2]
    assert answer["usage"]["completion_tokens"] == 24
    streamed = client.post("/generate", json=body | {"stream": True}).text
    events = [json.loads(event.removeprefix("data: ")) for event in streamed.split("\n\n")[:-2]]
    parts = ["".join(event["text"] for event in events if event["index"] == index) for index in range(4)]
    assert parts == [*beams[:2], "", ""]
