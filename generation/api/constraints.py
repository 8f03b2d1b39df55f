"""Structured output: the fields of a body that constrain the answer, and the one constraint they define."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from generation.api.bodies import Body
from generation.errors import refused
from generation.sampling.grammar import Constraint

LONGEST_DEFINITION = 1 << 16
LONGEST_REGEX = 2048

_Definition = Annotated[str, Field(min_length=1, max_length=LONGEST_DEFINITION)]
Schema = dict[str, Any] | _Definition
_Regex = Annotated[str, Field(min_length=1, max_length=LONGEST_REGEX)]
_Choices = Annotated[list[Annotated[str, Field(min_length=1, max_length=1024)]], Field(min_length=1, max_length=256)]


class StructuredOutputs(Body):
    """vLLM's structured outputs; exactly one field must be given."""

    json_schema: Schema | None = Field(None, alias="json", description="JSON schema, as an object or a string")
    regex: _Regex | None = Field(None, description="regular expression that the answer matches")
    choice: _Choices | None = Field(None, description="the answer is one of these strings")
    grammar: _Definition | None = Field(None, description="grammar in Lark's or GBNF's notation")
    json_object: Literal[True] | None = Field(None, description="true = the answer is any JSON object")


class NamedSchema(Body):
    """A JSON schema with a name, as in OpenAI's API."""

    name: str = Field(max_length=64, description="accepted; it has no effect on the answer")
    definition: dict[str, Any] = Field(alias="schema", description="the JSON schema")
    strict: bool | None = Field(None, description="accepted; the answer always follows the schema")
    description: str | None = Field(None, max_length=1024, description="accepted; it has no effect on the answer")


class ResponseFormat(Body):
    """The form of the answer: text, any JSON object, or JSON that follows a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = Field(None, description="only with the type json_schema")


class GuidedFields(Body):
    """The fields for structured output: vLLM's, their older names, and OpenAI's."""

    structured_outputs: StructuredOutputs | None = Field(
        None, description="the answer follows exactly one of `json`, `regex`, `choice`, `grammar`, `json_object`"
    )
    response_format: ResponseFormat | None = Field(None, description="the answer is text, JSON, or follows a schema")
    guided_json: Schema | None = Field(None, description="older name of structured_outputs.json")
    guided_regex: _Regex | None = Field(None, description="older name of structured_outputs.regex")
    guided_choice: _Choices | None = Field(None, description="older name of structured_outputs.choice")
    guided_grammar: _Definition | None = Field(None, description="older name of structured_outputs.grammar")
    guided_decoding_backend: str | None = Field(
        None, max_length=64, description="accepted; there is one implementation, llguidance"
    )

    def constraint(self) -> Constraint | None:
        """Return the constraint that the fields define, if any.

        Raises:
            InvalidRequestError: `structured_outputs` is empty, two constraints are given, or one is too long.
        """
        found = list(self._constraints())
        if self.structured_outputs is not None:
            inside = [one for one in found if one.param.startswith("structured_outputs.")]
            if len(inside) != 1:
                raise refused("structured_outputs", f"needs exactly one of its fields, got {len(inside)}")
        if len(found) > 1:
            raise refused(found[1].param, f"not together with {found[0].param}")
        return found[0] if found else None

    def _constraints(self) -> Iterator[Constraint]:
        if (inner := self.structured_outputs) is not None:
            yield from _each("structured_outputs.", inner.json_schema, inner.regex, inner.choice, inner.grammar)
            if inner.json_object:
                yield follow_schema(_ANY_OBJECT, "structured_outputs.json_object")
        if (given := self.response_format) is not None:
            if (given.type == "json_schema") != (given.json_schema is not None):
                raise refused("response_format.json_schema", "required with the type json_schema, and only with it")
            if given.json_schema is not None:
                yield follow_schema(given.json_schema.definition, "response_format.json_schema.schema")
            elif given.type == "json_object":
                yield follow_schema(_ANY_OBJECT, "response_format")
        yield from _each("guided_", self.guided_json, self.guided_regex, self.guided_choice, self.guided_grammar)


_ANY_OBJECT = {"type": "object"}


def follow_schema(schema: dict[str, Any] | str, param: str) -> Constraint:
    """Return the constraint of a JSON schema, an object or its text, that the field `param` holds.

    Raises:
        InvalidRequestError: the text is not that of an object, or the schema is too long.
    """
    text = _schema_text(schema, param) if isinstance(schema, str) else json.dumps(schema)
    if len(text) > LONGEST_DEFINITION:
        raise refused(param, f"a schema has at most {LONGEST_DEFINITION} characters, got {len(text)}")
    return Constraint("json", text, param)


def _each(
    prefix: str, schema: dict[str, Any] | str | None, regex: str | None, choice: list[str] | None, grammar: str | None
) -> Iterator[Constraint]:
    if schema is not None:
        yield follow_schema(schema, prefix + "json")
    if regex is not None:
        yield Constraint("regex", regex, prefix + "regex")
    if choice is not None:
        yield Constraint("choice", json.dumps(choice, ensure_ascii=False), prefix + "choice")
    if grammar is not None:
        yield Constraint("grammar", grammar, prefix + "grammar")


def _schema_text(text: str, param: str) -> str:
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused(param, f"the schema is not valid JSON: {error}") from None
    if not isinstance(schema, dict):
        raise refused(param, "the schema must be a JSON object")
    return json.dumps(schema)
