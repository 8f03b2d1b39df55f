"""The body of ``POST /api/v1/completions``: OpenAI's fields, and the extensions that vLLM's clients know."""

import re
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from generation.api.bodies import Body, SamplingFields
from generation.api.constraints import GuidedFields
from generation.errors import InvalidRequestError

MOST_PROMPTS = 2048
MOST_STOPS = 4
LONGEST_STOP = 256
_TOKEN_ID = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)

_Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
_AnyPrompt = (
    str
    | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
    | _Ids
    | Annotated[list[_Ids], Field(min_length=1, max_length=MOST_PROMPTS)]
)
_Stop = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]
_AnyStop = _Stop | Annotated[list[_Stop], Field(max_length=MOST_STOPS)]


def _split_prompts(given: object) -> tuple[str | tuple[int, ...], ...]:
    """Return the prompts of a request, each a text or token ids; the union's own findings would only confuse."""
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


def _nullable(schema: dict[str, Any]) -> None:
    """Say in the JSON schema that every field may be null."""
    for name, one in schema["properties"].items():
        if {"type": "null"} not in one.get("anyOf", ()):
            kept = {key: one.pop(key) for key in ("title", "description", "default", "examples") if key in one}
            schema["properties"][name] = {"anyOf": [one, {"type": "null"}]} | kept


class StreamOptions(Body):
    """Options of a streamed answer."""

    include_usage: bool = Field(False, description="end the stream with an event that holds the usage")
    include_obfuscation: bool = Field(False, description="accepted for compatibility; there is no padding to leave out")


class CompletionBody(SamplingFields, GuidedFields):
    """Body of ``POST /api/v1/completions``. In every field null stands for the default."""

    model_config = ConfigDict(json_schema_extra=_nullable)

    model: str | None = Field(None, description="the served model's name; left out = the served model")
    prompt: Annotated[
        tuple[str | tuple[int, ...], ...], PlainValidator(_split_prompts, json_schema_input_type=_AnyPrompt)
    ] = Field(
        ("",),
        description="text, token ids, or a list of either; left out or empty = start from nothing",
        examples=["Once upon a time"],
    )
    max_tokens: int = Field(16, ge=0, le=1 << 20, description="tokens to generate at most; 0 needs echo")
    n: int = Field(1, ge=1, le=128, description="choices for each prompt")
    best_of: int | None = Field(
        None, ge=1, le=128, description="generate this many and return the n of the highest mean log-probability"
    )
    temperature: float = Field(1.0, ge=0, le=2, description="below 1 bolder choices are rarer; 0 = no sampling")
    top_k: int = Field(0, ge=-1, le=1 << 20, description="keep this many of the likeliest tokens; 0 or -1 = all")
    frequency_penalty: float = Field(0.0, ge=-2, le=2, description="lower a token's score by this per use")
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="lower a token's score by this once used")
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] = Field(
        {}, max_length=1024, description="added to the score of the token with this id"
    )
    logprobs: int | None = Field(
        None, ge=0, le=5, description="report each token's log-probability and this many of the likeliest tokens"
    )
    echo: bool = Field(False, description="begin the answer with the prompt")
    stop: Annotated[tuple[str, ...], PlainValidator(_split_stops, json_schema_input_type=_AnyStop)] = Field(
        (), description="strings that end a choice; their text is left out"
    )
    stream: bool = Field(False, description="answer with server-sent events")
    stream_options: StreamOptions | None = Field(None, description="only with stream")
    user: str | None = Field(None, max_length=512, description="accepted; it has no effect on the answer")
    suffix: str = Field("", description="not supported: only null or an empty string")
    min_tokens: int = Field(0, ge=0, le=1 << 20, description="no end-of-text token before this many tokens")
    truncate_prompt_tokens: int | None = Field(None, ge=1, description="keep only this many tokens of a prompt's end")
    return_tokens_as_token_ids: bool = Field(False, description="name tokens token_id:<id> in logprobs")

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}

    @property
    def choices(self) -> int:
        """Sequences to generate for each prompt."""
        return self.best_of or self.n

    def check(self) -> Self:
        """Check what concerns more than one field.

        Raises:
            InvalidRequestError: with the field that is wrong.
        """
        if self.suffix:
            raise _refused("suffix", "this model cannot fill in between two texts")
        if self.choices < self.n:
            raise _refused("best_of", f"must be at least n={self.n}, got {self.best_of}")
        if self.choices > self.n and self.stream:
            raise _refused("best_of", "cannot be more than n in a stream")
        if self.stream_options is not None and not self.stream:
            raise _refused("stream_options", "only allowed with stream=true")
        if self.max_tokens == 0 and not self.echo:
            raise _refused("max_tokens", "must be at least 1 without echo, got 0")
        if self.min_tokens > self.max_tokens:
            raise _refused("min_tokens", f"must be at most max_tokens={self.max_tokens}, got {self.min_tokens}")
        if (guided := self.constraint()) is not None:
            # A constraint alone says where an answer ends; what contradicts it would leave no token to choose.
            if self.min_tokens:
                raise _refused("min_tokens", f"not together with {guided.param}")
            if self.ignore_eos:
                raise _refused("ignore_eos", f"not together with {guided.param}")
        return self

    def bias(self, vocabulary: int) -> dict[int, float]:
        """Return `logit_bias` by token id.

        Raises:
            InvalidRequestError: a key is not a token of the model.
        """
        for key in self.logit_bias:
            if not (_TOKEN_ID.fullmatch(key) and int(key) < vocabulary):
                message = f"logit_bias: {key[:32]!r} is not a token id from 0 to {vocabulary - 1}"
                raise InvalidRequestError(message, param="logit_bias")
        return {int(key): value for key, value in self.logit_bias.items()}


def _refused(param: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(f"{param}: {message}", param=param)
