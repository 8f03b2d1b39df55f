"""Log-probabilities as OpenAI's completions report them, and the harness that lives off them."""

import math
from operator import itemgetter
from typing import Any

import httpx
import pytest
from openai import OpenAI

from generation.api.logprobs import Report
from generation.engine.request import Token
from generation.engine.sequence import score
from tests.support import fake_api
from tests.support.completions import arguments, choices, whole
from tests.support.fakes import END, FakeModel, logits_after

PROMPT = "Once upon a time"
LISTS = {"tokens", "token_logprobs", "top_logprobs", "text_offset"}


async def _ask(**body: Any) -> dict[str, Any]:
    async with fake_api.client(fake_api.service(FakeModel())) as client:
        answer = await client.completions.create(**arguments(**{"model": "fake", "seed": 1, "prompt": "ab"} | body))
    choice: dict[str, Any] = choices(answer)[0]
    return choice


async def test_they_are_those_of_the_model_before_any_sampling_rule() -> None:
    choice = await _ask(max_tokens=12, logprobs=2, temperature=0.5, top_p=0.7, presence_penalty=2, ignore_eos=True)
    report = choice["logprobs"]
    assert report.keys() == LISTS
    assert {len(values) for values in report.values()} == {12}
    history = list(b"ab")
    for token, logprob, top in zip(report["tokens"], report["token_logprobs"], report["top_logprobs"], strict=True):
        chosen = token.encode()[0] if not token.startswith("bytes:") else int(token[-2:], 16)
        logits = logits_after(history)
        expected, alternatives, _ = score(logits, chosen, 2)
        assert logprob == expected == top[token]
        assert next(iter(top)) == token, "the chosen token comes first"
        assert sorted(top.values(), reverse=True)[:2] == list(alternatives.values())
        assert len(top) == 2 + (chosen not in alternatives)
        history.append(chosen)


async def test_the_prompt_is_scored_with_echo() -> None:
    choice = await _ask(prompt="once", echo=True, logprobs=1, max_tokens=0)
    assert choice["text"] == "once"
    report = choice["logprobs"]
    assert report["tokens"] == ["o", "n", "c", "e"]
    assert report["text_offset"] == [0, 1, 2, 3]
    assert (report["token_logprobs"][0], report["top_logprobs"][0]) == (None, None)
    for place in (1, 2, 3):
        assert report["token_logprobs"][place] == score(logits_after(list(b"once"[:place])), b"once"[place], 0)[0]


async def test_prompt_and_answer_follow_each_other() -> None:
    report = (await _ask(prompt="once", echo=True, logprobs=1, max_tokens=3, ignore_eos=True))["logprobs"]
    alone = (await _ask(prompt="once", logprobs=1, max_tokens=3, ignore_eos=True))["logprobs"]
    for name in LISTS - {"text_offset"}:
        assert report[name][4:] == alone[name]
    assert report["text_offset"][4:] == [offset + 4 for offset in alone["text_offset"]]


async def test_every_choice_of_a_prompt_has_its_scores() -> None:
    async with fake_api.client(fake_api.service(FakeModel())) as client:
        answer = await client.completions.create(
            model="fake",
            prompt=["ab", "cde"],
            n=2,
            echo=True,
            logprobs=0,
            max_tokens=2,
            extra_body={"ignore_eos": True},
        )
    reports = [choice["logprobs"] for choice in choices(answer)]
    assert [len(report["tokens"]) for report in reports] == [4, 4, 5, 5]
    assert reports[0]["token_logprobs"][:2] == reports[1]["token_logprobs"][:2]


async def test_zero_reports_the_tokens_alone() -> None:
    report = (await _ask(logprobs=0, max_tokens=4, ignore_eos=True))["logprobs"]
    assert [len(top) for top in report["top_logprobs"]] == [1, 1, 1, 1]


async def test_without_being_asked_for_there_are_none() -> None:
    assert (await _ask(echo=True))["logprobs"] is None


def test_the_offset_is_where_a_tokens_text_begins(api: OpenAI) -> None:
    """Where tokens are whole characters, that is; the text of a part of one begins with the part that completes it."""
    body = {"prompt": "naïve 🙂!", "guided_regex": "[a-z ]{40}", "max_tokens": 40, "seed": 1}
    (choice,) = choices(whole(api, echo=True, logprobs=0, **body))
    report = choice["logprobs"]
    names = [name for name in report["tokens"] if not name.startswith(("bytes:", "<|"))]
    assert len(names) > 8
    for token, offset in zip(report["tokens"], report["text_offset"], strict=True):
        assert token not in names or choice["text"].startswith(token, offset)


def test_tokens_may_be_named_by_their_ids(api: OpenAI, client: httpx.Client) -> None:
    body = {"prompt": PROMPT, "echo": True, "logprobs": 2, "max_tokens": 0}
    ids = client.post("/tokenize", json={"prompt": PROMPT}).json()["tokens"]
    report = choices(whole(api, **body, return_tokens_as_token_ids=True))[0]["logprobs"]
    assert report["tokens"] == [f"token_id:{token}" for token in ids]
    by_text = choices(whole(api, **body))[0]["logprobs"]
    assert [list(top.values()) for top in report["top_logprobs"][1:]] == [
        list(top.values()) for top in by_text["top_logprobs"][1:]
    ]


def test_parts_of_characters_have_names_of_their_own() -> None:
    """Several such tokens would be the same U+FFFD, and all but one lost as keys."""
    token = Token(0xC3, 0, -1.0, {0xC3: -1.0, 0xA9: -2.0, END: -3.0, ord("x"): -4.0})
    report = Report(fake_api.tokenizer(), as_ids=False)
    report.add([token], 0)
    assert list(report.lists()["top_logprobs"][0]) == ["bytes:\\xc3", "bytes:\\xa9", "<|endoftext|>", "x"]


def test_what_cannot_be_has_a_finite_number() -> None:
    report = Report(fake_api.tokenizer(), as_ids=False)
    report.add([Token(97, 0, -math.inf, {98: -math.inf})], 0)
    assert report.lists()["token_logprobs"] == [-9999.0]
    assert report.lists()["top_logprobs"] == [{"b": -9999.0, "a": -9999.0}]


# What lm-eval's `local-completions` does with an answer, in the order of its requests: the context's tokens and the
# generated one are cut off, the rest summed, and a continuation is greedy if each token has its place's largest value.
def _loglikelihoods(answer: dict[str, Any], context_lengths: list[int]) -> list[tuple[float, bool]]:
    results = []
    ordered = sorted(answer["choices"], key=itemgetter("index"))
    for choice, context_length in zip(ordered, context_lengths, strict=True):
        scores = choice["logprobs"]["token_logprobs"][context_length:-1]
        tops = choice["logprobs"]["top_logprobs"][context_length:-1]
        results.append((sum(scores), all(one == max(top.values()) for one, top in zip(scores, tops, strict=True))))
    return results


def _harness_request(client: httpx.Client, prompts: list[list[int]]) -> dict[str, Any]:
    body = {
        "model": client.get("/v1/models").json()["data"][0]["id"],
        "prompt": prompts,
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": 1,
        "seed": 1234,
        "echo": True,
    }
    answer: dict[str, Any] = client.post("/v1/completions", json=body).raise_for_status().json()
    return answer


def test_an_evaluation_harness_finds_the_greedy_continuation_greedy(api: OpenAI, client: httpx.Client) -> None:
    ids = client.post("/tokenize", json={"prompt": PROMPT}).json()["tokens"]
    greedy = whole(
        api, prompt=ids, temperature=0, max_tokens=6, logprobs=0, ignore_eos=True, return_tokens_as_token_ids=True
    )
    assert greedy.choices[0].logprobs is not None
    following = [int(name.removeprefix("token_id:")) for name in greedy.choices[0].logprobs.tokens or ()]
    other = [*following[:3], (following[3] + 1) % 4000, *following[4:]]
    short = ids[:2]
    answer = _harness_request(client, [ids + following, ids + other, short + following[:1]])
    (sum_greedy, is_greedy), (sum_other, other_is_greedy), _ = _loglikelihoods(answer, [len(ids), len(ids), len(short)])
    assert is_greedy
    assert not other_is_greedy
    # Prompts are scored with keys and values as they are, generation rounds them to int8.
    assert sum_greedy == pytest.approx(sum(greedy.choices[0].logprobs.token_logprobs or ()), abs=0.05)
    assert sum_other < sum_greedy


def test_an_evaluation_harness_gets_the_same_regardless_of_concurrent_requests(client: httpx.Client) -> None:
    prompts = [[5, 6, 7, 8], list(range(100, 160)), [9]]
    lengths = [2, 30, 1]
    together = _loglikelihoods(_harness_request(client, prompts), lengths)
    alone = [
        _loglikelihoods(_harness_request(client, [one]), [length])[0]
        for one, length in zip(prompts, lengths, strict=True)
    ]
    assert together == alone


class _EndingModel(FakeModel):
    """Ends every text at once."""

    def prefill(self, *arguments: Any) -> Any:
        logits = super().prefill(*arguments)
        logits[:, END] = 50
        return logits


async def test_the_end_of_a_text_has_its_place_in_the_lists() -> None:
    """An evaluation harness cuts off one generated token, whichever it is."""
    async with fake_api.client(fake_api.service(_EndingModel())) as client:
        answer = await client.completions.create(
            model="fake", prompt=[[97, 98, 99]], max_tokens=1, logprobs=1, temperature=0, echo=True
        )
    (choice,) = choices(answer)
    assert (choice["text"], choice["finish_reason"]) == ("abc", "stop")
    assert choice["logprobs"]["tokens"] == ["a", "b", "c", "<|endoftext|>"]
    assert choice["logprobs"]["text_offset"] == [0, 1, 2, 3]
    assert choice["logprobs"]["token_logprobs"][3] == choice["logprobs"]["top_logprobs"][3]["<|endoftext|>"]
    assert len(_loglikelihoods(answer.model_dump(), [1])) == 1
