"""Request bodies as pydantic models: the one source of validation and of the OpenAPI document.

Validation is strict: it converts no types and refuses NaN and unknown fields.
"""

import itertools
import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from generation.errors import InvalidBodyError, InvalidRequestError, UnknownFieldError


def at_most(most: int) -> BeforeValidator:
    """Return a validator that refuses a list or an object with too many entries before it validates the entries."""

    def check(given: object) -> object:
        if isinstance(given, list | dict) and len(given) > most:
            raise PydanticCustomError("too_long", f"must have at most {most} entries")
        return given

    return BeforeValidator(check)


LONGEST_STOP = 256
Stop = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]
TokenId = Annotated[int, Field(ge=0)]
SHOWN = 64  # characters of a value in a message
MOST_TOKENS = 1 << 17
MOST_FIELDS = 128  # more than any body has
SEED_LIMIT = 1 << 63


class Body(BaseModel):
    """Base of every request body."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _known_fields_only(cls, data: Any) -> Any:
        """Refuse the first unknown field of a large body; pydantic would report every one of them."""
        if isinstance(data, dict) and len(data) > MOST_FIELDS:
            unknown = next((key for key in data if key not in cls.model_fields), "")
            raise unknown_field(cls, str(unknown))
        return data


class SamplingFields(Body):
    """How tokens are chosen; shared by `/generate` and `/v1/completions`."""

    top_p: float = Field(
        1.0, gt=0, le=1, description="keep the smallest set of likeliest tokens whose probabilities add up to this"
    )
    min_p: float = Field(
        0.0, ge=0, le=1, description="keep tokens whose probability is at least this fraction of the top token's"
    )
    typical_p: float = Field(
        1.0, gt=0, le=1, description="keep the most typical tokens whose probabilities add up to this"
    )
    repetition_penalty: float = Field(
        1.0,
        ge=0.01,
        le=10,
        description="lower the score of every token in the prompt or the text by this factor; 1 = off",
    )
    seed: int | None = Field(
        None, ge=-SEED_LIMIT, lt=SEED_LIMIT, description="the same seed and request give the same answer; null = random"
    )
    ignore_eos: bool = Field(False, description="continue past the end-of-text token")
    timeout_s: float | None = Field(
        None, gt=0, description="maximum request time in seconds; partial text is returned; default: the server's limit"
    )

    def sampling(self) -> dict[str, Any]:
        """Return these fields as `SamplingParams` takes them."""
        names = ("top_p", "min_p", "typical_p", "repetition_penalty", "ignore_eos")
        values = {name: getattr(self, name) for name in names}
        return values | {"seed": None if self.seed is None else self.seed % (2 * SEED_LIMIT)}


class GenerateBody(SamplingFields):
    """Body of ``POST /api/generate``; names and defaults are those of the `transformers` text-generation pipeline."""

    prompt: str = Field(
        description="the text to continue; empty = start from the beginning-of-text token",
        examples=["Once upon a time"],
    )
    max_new_tokens: int = Field(50, ge=1, le=1 << 20, description="maximum number of tokens to generate")
    num_return_sequences: int = Field(1, ge=1, le=256, description="sequences to generate")
    do_sample: bool = Field(True, description="sample; false = greedy: always the likeliest token")
    temperature: float = Field(1.0, ge=0, le=100, description="lower is more predictable; 0 = greedy")
    top_k: int = Field(50, ge=0, le=1 << 20, description="keep this many of the likeliest tokens; 0 = all")
    num_beams: int = Field(
        1, ge=1, le=64, description="number of beams; above 1 = beam search, which needs do_sample=false"
    )
    length_penalty: float = Field(
        1.0, ge=-10, le=10, description="with num_beams: above 0 favours long sequences, below 0 short ones"
    )
    stop: Stop | Annotated[list[Stop], at_most(16), Field(max_length=16)] | None = Field(
        None, description="strings that end a sequence; the text leaves them out"
    )
    return_full_text: bool = Field(True, description="begin each sequence with the prompt")
    stream: bool = Field(False, description="stream the answer as server-sent events")


class TokenizeBody(Body):
    """Body of ``POST /api/tokenize``."""

    model: str | None = Field(None, description="name of the served model; may be omitted")
    prompt: str = Field(description="the text to split", examples=["Once upon a time"])
    add_special_tokens: bool = Field(True, description="add the tokenizer's special tokens; GPT-2's adds none")
    return_token_strs: bool = Field(False, description="also return the tokens as the vocabulary spells them")


class DetokenizeBody(Body):
    """Body of ``POST /api/detokenize``."""

    model: str | None = Field(None, description="name of the served model; may be omitted")
    tokens: Annotated[list[TokenId], FailFast(), at_most(MOST_TOKENS)] = Field(
        max_length=MOST_TOKENS, description="token ids", examples=[[0, 1]]
    )


Parsed = TypeVar("Parsed", bound=Body)


def parse_json(model: type[Parsed], body: bytes) -> Parsed:
    """Validate a JSON body.

    Raises:
        InvalidRequestError: or a subclass; the message names the field and what is allowed.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise explain(model, error) from None


def parse_query(model: type[Parsed], values: Mapping[str, Any]) -> Parsed:
    """Validate query parameters, strings or lists of strings; raises like `parse_json`.

    Values of fields that are not strings are written as in JSON; `true` and `false` in any case. There is no null.
    """
    try:
        return model.model_validate({name: _from_query(model, name, value) for name, value in values.items()})
    except ValidationError as error:
        raise explain(model, error) from None


def _from_query(model: type[Body], name: str, value: Any) -> Any:
    known = model.model_fields.get(name)
    if known is None or not isinstance(value, str) or _takes_text(known.annotation):
        return value
    text = value.lower() if value.lower() in {"true", "false"} else value
    try:
        parsed = json.loads(text)
    except ValueError:
        return value
    return value if isinstance(parsed, str | list | dict | None) else parsed


def _takes_text(annotation: Any) -> bool:
    return annotation is str or any(_takes_text(one) for one in get_args(annotation))


def unknown_field(model: type[BaseModel], name: str) -> UnknownFieldError:
    """Return the error for an unknown field."""
    from difflib import get_close_matches

    name = name[:SHOWN]
    closest = ", ".join(get_close_matches(name, model.model_fields, n=5, cutoff=0))
    return UnknownFieldError(f"unknown field {short(name)}; the closest known are: {closest}", param=name)


def explain(model: type[Body], error: ValidationError) -> InvalidRequestError:
    """Turn the first error that pydantic found into an `InvalidRequestError`."""
    found = error.errors(include_url=False)
    # A union reports an error for each of its branches; the deepest one comes from the branch that the client meant.
    first = max((one for one in found if one["loc"][:1] == found[0]["loc"][:1]), key=lambda one: len(one["loc"]))
    kind, message = first["type"], first["msg"]
    if kind == "json_invalid":
        return InvalidBodyError(f"the body is not valid JSON: {first['ctx']['error']}")
    if not first["loc"]:
        return InvalidBodyError("the body must be a JSON object")
    place = [part for part in first["loc"] if not _is_branch(part)]
    where = ".".join(str(part) for part in place)[:SHOWN]
    param = ".".join(part for part in place if isinstance(part, str))[:SHOWN]
    if kind == "extra_forbidden":
        if len(place) == 1:
            return unknown_field(model, where)
        return UnknownFieldError(f"unknown field {short(where)}", param=param)
    if kind == "missing":
        return InvalidRequestError(f"{where} is required", param=param)
    return InvalidRequestError(f"{where}: {message[0].lower()}{message[1:]}, got {short(first['input'])}", param=param)


def _is_branch(part: int | str) -> bool:
    """Return whether a part of a location names a branch of a union instead of a place in the body."""
    return isinstance(part, str) and (not part.isidentifier() or part in {"str", "int", "float", "bool"})


def short(value: object) -> str:
    """Return a value as messages show it, in at most `SHOWN` characters."""
    if isinstance(value, str | bytes):
        value = value[: SHOWN + 1]
    elif isinstance(value, list | dict) and len(value) > SHOWN:
        value = (
            list(itertools.islice(value, SHOWN))
            if isinstance(value, list)
            else dict(itertools.islice(value.items(), SHOWN))
        )
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
