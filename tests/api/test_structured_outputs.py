"""Structured output over HTTP: every field that asks for it, whole and streamed, and what is refused."""

import json
import re
from typing import Any

import openai
import pytest
from jsonschema import Draft202012Validator
from openai import OpenAI

from tests.sampling.test_json_schema import PERSON
from tests.support.completions import chunks, joined, texts, whole

PROMPT = "Once upon a time there was a"
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
OF_THE_SCHEMA: list[dict[str, Any]] = [
    {"structured_outputs": {"json": PERSON}},
    {"structured_outputs": {"json": json.dumps(PERSON)}},
    {"response_format": FORMAT},
    {"guided_json": PERSON},
    {"guided_json": json.dumps(PERSON), "guided_decoding_backend": "xgrammar"},
]


@pytest.mark.parametrize("fields", OF_THE_SCHEMA, ids=lambda fields: json.dumps(fields)[:60])
def test_the_answer_follows_the_schema(api: OpenAI, fields: dict[str, Any]) -> None:
    answer = whole(api, prompt=PROMPT, n=3, seed=1, max_tokens=100, **fields)
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    for text in texts(answer):
        Draft202012Validator(PERSON).validate(json.loads(text))


def test_a_stream_is_the_whole_answer(api: OpenAI) -> None:
    body: dict[str, Any] = {"prompt": PROMPT, "n": 3, "seed": 1, "max_tokens": 100, "guided_json": PERSON}
    assert [one["text"] for one in joined(chunks(api, **body))] == texts(whole(api, **body))


@pytest.mark.parametrize("max_tokens", [1, 5, 9])
def test_an_answer_that_is_cut_is_a_part_of_the_whole(api: OpenAI, max_tokens: int) -> None:
    body: dict[str, Any] = {"prompt": PROMPT, "seed": 1, "guided_json": PERSON}
    (complete,) = texts(whole(api, max_tokens=100, **body))
    (choice,) = whole(api, max_tokens=max_tokens, **body).choices
    assert choice.finish_reason == "length"
    assert complete.startswith(choice.text)


@pytest.mark.parametrize(
    "fields", [{"structured_outputs": {"json_object": True}}, {"response_format": {"type": "json_object"}}]
)
def test_any_json_object(api: OpenAI, fields: dict[str, Any]) -> None:
    (choice,) = whole(api, prompt='{"a"', seed=4, max_tokens=120, temperature=0, **fields).choices
    assert choice.text.startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.text), dict)


def test_the_format_text_asks_for_nothing(api: OpenAI) -> None:
    plain, asked = (
        texts(whole(api, prompt=PROMPT, seed=1, **body)) for body in ({}, {"response_format": {"type": "text"}})
    )
    assert plain == asked


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        ({"regex": "[0-9]{3}"}, "[0-9]{3}"),
        ({"choice": [" cat", " dog"]}, " cat| dog"),
        ({"grammar": 'root ::= " a" [0-9]'}, " a[0-9]"),
    ],
)
def test_each_kind_has_its_older_name(api: OpenAI, value: dict[str, Any], pattern: str) -> None:
    ((kind, definition),) = value.items()
    answers = [
        texts(whole(api, prompt=PROMPT, seed=1, **fields))
        for fields in ({"structured_outputs": value}, {f"guided_{kind}": definition})
    ]
    assert answers[0] == answers[1]
    assert re.fullmatch(pattern, answers[0][0])


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"structured_outputs": {}}, "structured_outputs", "exactly one"),
    ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs", "got 2"),
    ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs.structural_tag", "unknown field"),
    ({"structured_outputs": {"json_object": False}}, "structured_outputs.json_object", "True"),
    ({"structured_outputs": {"json": "{"}}, "structured_outputs.json", "not valid JSON"),
    ({"structured_outputs": {"json": "[]"}}, "structured_outputs.json", "JSON object"),
    ({"structured_outputs": {"json": {"not": {}}}}, "structured_outputs.json", "not"),
    ({"guided_json": {"pattern": "a" * 70_000}}, "guided_json", "at most 65536"),
    ({"guided_json": {"not": {}}}, "guided_json", "not"),
    ({"guided_grammar": "start: ("}, "guided_grammar", ""),
    ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice", "not together with guided_regex"),
    ({"guided_json": PERSON, "response_format": FORMAT}, "guided_json", "not together"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "type json_schema"),
    ({"response_format": FORMAT | {"type": "text"}}, "response_format.json_schema", "type json_schema"),
    ({"guided_json": PERSON, "min_tokens": 3}, "min_tokens", "not together with guided_json"),
    ({"response_format": FORMAT, "ignore_eos": True}, "ignore_eos", "not together with response_format"),
]


@pytest.mark.parametrize(("fields", "param", "says"), REFUSED, ids=lambda one: json.dumps(one)[:50])
def test_what_cannot_be_is_refused(api: OpenAI, fields: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        whole(api, prompt=PROMPT, **fields)
    assert caught.value.param == param
    assert says in caught.value.message
