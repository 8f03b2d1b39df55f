"""Bodies and queries: one finding is enough, and a query is read as it is written."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from generation.api.bodies import Body, DetokenizeBody, GenerateBody, parse_json, parse_query, short
from generation.api.completions_body import CompletionBody
from generation.errors import InvalidRequestError, UnknownFieldError


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (DetokenizeBody, {"tokens": ["a"] * 5000}),
        (CompletionBody, {"logit_bias": {str(i): "x" for i in range(5000)}}),
        (CompletionBody, {"guided_choice": [""] * 5000}),
        (CompletionBody, {"stop": [1] * 5000}),
        (CompletionBody, {"prompt": ["a", 1] * 5000}),
        (GenerateBody, {"prompt": "a", "stop": [1] * 5000}),
    ],
)
def test_thousands_of_mistakes_are_few_findings(model: type[Body], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(body))
    assert caught.value.error_count() <= 2


@pytest.mark.parametrize("model", [GenerateBody, CompletionBody])
def test_thousands_of_unknown_fields_are_one_error(model: type[Body]) -> None:
    with pytest.raises(UnknownFieldError) as caught:
        parse_json(model, json.dumps({f"field{i}": 0 for i in range(5000)}).encode())
    assert caught.value.param == "field0"


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"stop": ["a", "b"]}, ["a", "b"]),
        ({"stop": ["a"]}, ["a"]),
        ({"max_new_tokens": "10"}, 10),
        ({"do_sample": "True"}, True),
        ({"do_sample": "false"}, False),
        ({"temperature": "0.5"}, 0.5),
        ({"seed": "-7"}, -7),
        ({"prompt": "12"}, "12"),
    ],
)
def test_a_query_is_read_as_json_where_it_is_no_text(given: dict[str, Any], value: Any) -> None:
    body = parse_query(GenerateBody, {"prompt": "a"} | given)
    assert getattr(body, next(iter(given))) == value


@pytest.mark.parametrize(
    "given",
    [
        {"max_new_tokens": "1_0"},
        {"max_new_tokens": "٣"},
        {"max_new_tokens": "1.5"},
        {"max_new_tokens": ""},
        {"max_new_tokens": "[1]"},
        {"timeout_s": "null"},
        {"seed": "null"},
        {"do_sample": "no"},
        {"do_sample": "1"},
        {"temperature": "NaN"},
        {"temperature": "1e999"},
        {"seed": '"1"'},
    ],
)
def test_what_is_no_json_is_refused_in_a_query(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_query(GenerateBody, {"prompt": "a"} | given)
    assert caught.value.param == next(iter(given))


@pytest.mark.parametrize(
    "value", ["x" * 1000, 10**4200, [10**4200] * 3, list(range(1000)), {str(i): i for i in range(99)}]
)
def test_a_value_is_shown_in_64_characters(value: object) -> None:
    assert len(short(value)) <= 64
