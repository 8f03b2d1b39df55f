"""Answers that follow a JSON schema: whatever a model prefers, what it writes to its end validates."""

import datetime as dt
import json
import re
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from generation.config import ROOT
from generation.errors import InvalidRequestError
from generation.model.artifact import load_tokenizer, read_config
from generation.sampling import grammar
from generation.sampling.grammar import Constraint, make_guide
from generation.sampling.json_schema import PATTERNS, with_patterns
from generation.text.tokenizer import Tokenizer

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "state": {"enum": ["new", "old", None, 7]},
    },
    "required": ["name", "age", "state"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, dict[str, Any]] = {
    "flat": PERSON,
    "nested": {
        "type": "object",
        "properties": {
            "order": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
                    "lines": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 3,
                        "items": {
                            "type": "object",
                            "properties": {"sku": {"enum": ["a", "b"]}, "count": {"type": "integer", "minimum": 1}},
                            "required": ["sku", "count"],
                            "additionalProperties": False,
                        },
                    },
                },
                "required": ["id", "lines"],
                "additionalProperties": False,
            }
        },
        "required": ["order"],
        "additionalProperties": False,
    },
    "references": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "value": {"type": "boolean"},
                    "left": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
                },
                "required": ["value", "left"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/tree",
    },
    "any of": {"anyOf": [{"type": "integer", "minimum": -5, "maximum": 117}, {"const": "none"}, {"type": "null"}]},
    "all of": {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 40, "multipleOf": 4}]},
    "one of, told apart by a constant": {
        "oneOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": kind}, "size": {"type": "integer", "minimum": 0, "maximum": 9}},
                "required": ["kind", "size"],
                "additionalProperties": False,
            }
            for kind in ("circle", "square")
        ]
    },
    "bounded numbers": {
        "type": "array",
        "items": {"type": "number", "exclusiveMinimum": 0, "maximum": 1.5},
        "minItems": 3,
        "maxItems": 3,
    },
    "steps": {
        "type": "array",
        "items": {"type": "number", "multipleOf": 0.25, "minimum": -2, "maximum": 3},
        "minItems": 2,
        "maxItems": 4,
    },
    "tuple": {"type": "array", "prefixItems": [{"type": "boolean"}, {"enum": ["x"]}], "items": False, "minItems": 2},
    **{
        f"format {name}": {"type": "string", "format": name}
        for name in ("date", "time", "date-time", "ipv4", "ipv6", "uuid", "duration")
    },
    "keys by pattern": {
        "type": "object",
        "patternProperties": {"^x[0-9]$": {"type": "boolean"}},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 3,
    },
    "text beyond ASCII": {"type": "string", "pattern": "^[é世]{2,5}$"},
    "constants": {"const": {"a": [1, "two", None, {"b": False}]}},
}
TOKENS = 400
CHECKER = FormatChecker()


def _is_date_time(text: object) -> bool:
    return dt.datetime.fromisoformat(str(text)).tzinfo is not None


def _is_time(text: object) -> bool:
    return dt.time.fromisoformat(str(text)).tzinfo is not None


CHECKER.checks("date-time", raises=ValueError)(_is_date_time)
CHECKER.checks("time", raises=ValueError)(_is_time)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    folder = ROOT / "models" / "demo"
    return load_tokenizer(folder, read_config(folder))


async def _walk(schema: dict[str, Any], tokenizer: Tokenizer, seed: int, limit: int = TOKENS) -> tuple[str, bool]:
    """Return what a model of random weights writes, and whether it came to its end; it ends as soon as it may."""
    maker = await make_guide(tokenizer, Constraint("json", json.dumps(schema), "guided_json"))
    assert maker is not None
    guide = maker()
    random = np.random.default_rng(seed)
    tokens: list[int] = []
    while len(tokens) < limit:
        allowed = guide.allowed()
        if allowed[tokenizer.ends_of_text[0]]:
            return tokenizer.decode(tokens), True
        tokens.append(int(random.choice(np.flatnonzero(allowed))))
        guide.advance(tokens[-1])
    return tokenizer.decode(tokens), False


@pytest.mark.parametrize("name", SCHEMAS)
async def test_what_random_weights_write_validates(tokenizer: Tokenizer, name: str) -> None:
    validator = Draft202012Validator(SCHEMAS[name], format_checker=CHECKER)
    Draft202012Validator.check_schema(SCHEMAS[name])
    ended = 0
    for seed in range(8):
        text, complete = await _walk(SCHEMAS[name], tokenizer, seed)
        if complete:
            ended += 1
            validator.validate(json.loads(text))
    assert ended >= 4


def test_the_pattern_of_a_date_holds_every_day_there_is_and_no_other() -> None:
    for year in ("0001", "0004", "0400", "1900", "2000", "2023", "2024", "2100", "9999"):
        for month in range(14):
            for day in range(33):
                text = f"{year}-{month:02}-{day:02}"
                try:
                    dt.date.fromisoformat(text)
                    exists = True
                except ValueError:
                    exists = False
                assert bool(re.search(PATTERNS["date"], text)) == exists


def test_formats_become_patterns_in_schemas_and_nowhere_else() -> None:
    pattern = {"allOf": [{"pattern": PATTERNS["date"]}]}
    for key, form in (("items", "{}"), ("anyOf", "[{}]"), ("properties", '{{"format": {}}}'), ("$defs", '{{"a": {}}}')):
        before, after = (json.loads(form.format(json.dumps(one))) for one in ({"format": "date"}, pattern))
        assert with_patterns({key: before}) == {key: after}
    for schema in (
        {"const": {"format": "date"}},
        {"enum": [{"format": "date"}]},
        {"format": "uuid"},
        {"format": 3},
        True,
    ):
        assert with_patterns(schema) == schema


async def test_a_cut_answer_can_still_be_completed(tokenizer: Tokenizer) -> None:
    whole, _ = await _walk(PERSON, tokenizer, 3)
    for limit in range(1, 8):
        part, complete = await _walk(PERSON, tokenizer, 3, limit)
        assert not complete
        assert whole.startswith(part)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"type": "object", "if": {}, "then": {}}, "if"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "array", "contains": {}}, "contains"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"type": "object", "propertyNames": {}}, "propertyNames"),
        ({"type": "object", "unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"oneOf": [{"type": "integer"}, {"minimum": 3}]}, "oneOf"),
        ({"type": "string", "format": "iri"}, "iri"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"$ref": "https://example.org/schema.json"}, "example.org"),
        ({"$ref": "#/$defs/missing"}, "missing"),
        ({"type": "colour"}, "colour"),
        ({"type": "integer", "minimum": 5, "maximum": 2}, "minimum"),
        ({"allOf": [{"type": "integer"}, {"type": "string"}]}, "incompatible types"),
        ({"anyOf": []}, "anyOf"),
        ({"x-guidance": {"lenient": True}, "not": {}}, "not"),
        ({"x-guidance": {"coerce_one_of": True}, "oneOf": [{"type": "integer"}, {"minimum": 3}]}, "oneOf"),
    ],
    ids=json.dumps,
)
async def test_what_is_not_supported_is_refused_by_its_name(
    tokenizer: Tokenizer, schema: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidRequestError, match=says) as caught:
        await make_guide(tokenizer, Constraint("json", json.dumps(schema), "guided_json"))
    assert caught.value.param == "guided_json"
    assert len(caught.value.message) < 300


async def test_what_is_too_large_to_compile_is_refused(tokenizer: Tokenizer) -> None:
    def alternatives(name: str) -> dict[str, Any]:
        return {"anyOf": [{"type": "object", "properties": {name: {"const": value}}} for value in range(5)]}

    schema = {"allOf": [alternatives(f"p{number}") for number in range(7)]}
    with pytest.raises(InvalidRequestError, match="too large"):
        await make_guide(tokenizer, Constraint("json", json.dumps(schema), "guided_json"))


async def test_a_compiled_grammar_is_kept(tokenizer: Tokenizer) -> None:
    grammar._compiled.cache_clear()
    for param in ("guided_json", "structured_outputs.json"):
        await make_guide(tokenizer, Constraint("json", json.dumps(PERSON), param))
    assert grammar._compiled.cache_info().misses == 1


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ('root ::= "yes" | "no"', {"yes", "no"}),
        ('start: "yes" | /no/', {"yes", "no"}),
        ('root ::= sum\nsum ::= digit ("+" digit)?\ndigit ::= [1-2]', {"1", "2", "1+1", "1+2", "2+1", "2+2"}),
    ],
)
async def test_a_grammar_is_gbnf_or_lark(tokenizer: Tokenizer, text: str, answers: set[str]) -> None:
    maker = await make_guide(tokenizer, Constraint("grammar", text, "guided_grammar"))
    assert maker is not None
    found = set()
    for seed in range(120):
        guide, tokens, random = maker(), list[int](), np.random.default_rng(seed)
        while (token := int(random.choice(np.flatnonzero(guide.allowed())))) != tokenizer.ends_of_text[0]:
            tokens.append(token)
            guide.advance(token)
        found.add(tokenizer.decode(tokens))
    assert found == answers


@pytest.mark.parametrize("text", ["start: (", 'root ::= "a', "root ::= missing", "start: missing", "{}"])
async def test_a_wrong_grammar_is_refused(tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await make_guide(tokenizer, Constraint("grammar", text, "guided_grammar"))
    assert caught.value.message.startswith("guided_grammar: ")
