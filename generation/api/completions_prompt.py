"""The forms of a prompt, stop strings and a bias in the body of ``POST /api/v1/completions``."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from generation.api.bodies import LONGEST_STOP, Stop, TokenId

MOST_PROMPTS = 2048
MOST_STOPS = 4
MOST_BIASES = 1024
LONGEST_BIAS = 100.0
_NUMBER = re.compile(r"-?[0-9]+", re.ASCII)
_TOKEN_ID = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)

_Ids = Annotated[list[TokenId], Field(min_length=1)]
_AnyPrompt = (
    str
    | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
    | _Ids
    | Annotated[list[_Ids], Field(min_length=1, max_length=MOST_PROMPTS)]
)
_AnyStop = Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)]


def _split_prompts(given: object) -> tuple[str | tuple[int, ...], ...]:
    """Return the prompts of a request, each a text or token ids. A union's own error messages would be confusing."""
    if isinstance(given, str):
        return (given,)
    if isinstance(given, list) and given:
        if _are_ids(given):
            return (tuple(given),)
        if len(given) > MOST_PROMPTS:
            raise PydanticCustomError("prompt", f"must hold at most {MOST_PROMPTS} prompts")
        if all(isinstance(one, str) for one in given):
            return tuple(given)
        if all(isinstance(one, list) and one and _are_ids(one) for one in given):
            return tuple(map(tuple, given))
    raise PydanticCustomError(
        "prompt", "must be a string, a list of strings, a list of token ids or a list of such lists, none of them empty"
    )


def _split_stops(given: object) -> tuple[str, ...]:
    """Return the stop strings of a request."""
    stops = [given] if isinstance(given, str) else given
    if isinstance(stops, list) and len(stops) <= MOST_STOPS and all(map(_is_stop, stops)):
        return tuple(stops)
    raise PydanticCustomError(
        "stop", f"must be a string or a list of at most {MOST_STOPS} strings, each of 1 to {LONGEST_STOP} characters"
    )


def _is_stop(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_STOP


def _are_ids(values: list[Any]) -> bool:
    return all(type(one) is int for one in values)


def _split_bias(given: object) -> tuple[tuple[str | int, float], ...]:
    """Return pairs of a token id or a text and the number to add to the scores of the tokens.

    OpenAI takes an object with ids as strings. llama.cpp's server also takes texts instead of ids, lists of pairs, and
    false for tokens that are never chosen. A text of digits is an id.
    """
    pairs = list(given.items()) if isinstance(given, dict) else given
    if not isinstance(pairs, list) or len(pairs) > MOST_BIASES:
        raise _bias_error()
    return tuple(map(_one_bias, pairs))


def _one_bias(pair: Any) -> tuple[str | int, float]:
    if not (isinstance(pair, list | tuple) and len(pair) == 2):  # noqa: PLR2004
        raise _bias_error()
    key, value = pair
    if isinstance(key, str) and _NUMBER.fullmatch(key):
        if not _TOKEN_ID.fullmatch(key):
            raise PydanticCustomError("bias", f"{key[:32]!r} is not a token id")
        key = int(key)
    if type(key) is not int and not (isinstance(key, str) and 0 < len(key) <= LONGEST_STOP):
        raise _bias_error()
    if value is False:
        return key, float("-inf")
    if type(value) not in (int, float) or not -LONGEST_BIAS <= value <= LONGEST_BIAS:
        raise PydanticCustomError("bias", f"each value must be a number from -100 to 100, or false, not {value!r:.32}")
    return key, float(value)


def _bias_error() -> PydanticCustomError:
    return PydanticCustomError(
        "bias",
        f"must be an object or a list of pairs, at most {MOST_BIASES}, of a token id or a text of 1 to {LONGEST_STOP} "
        "characters and a number",
    )


_BiasValue = Annotated[float, Field(ge=-LONGEST_BIAS, le=LONGEST_BIAS)] | Literal[False]
_AnyBias = (
    Annotated[dict[str, _BiasValue], Field(max_length=MOST_BIASES)]
    | Annotated[list[tuple[int | str, _BiasValue]], Field(max_length=MOST_BIASES)]
)

Prompts = Annotated[
    tuple[str | tuple[int, ...], ...], PlainValidator(_split_prompts, json_schema_input_type=_AnyPrompt)
]
Stops = Annotated[tuple[str, ...], PlainValidator(_split_stops, json_schema_input_type=_AnyStop)]
Bias = Annotated[tuple[tuple[str | int, float], ...], PlainValidator(_split_bias, json_schema_input_type=_AnyBias)]
