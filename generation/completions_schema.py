"""The body of ``POST /api/v1/completions``: OpenAI's fields, and the extensions that vLLM's clients know."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from generation.errors import InvalidRequestError
from generation.schemas import Body, SamplingFields, Stop

Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class StreamOptions(Body):
    """Options of a streamed answer."""

    include_usage: bool = Field(False, description="end the stream with an event that holds the usage")
    include_obfuscation: bool = Field(False, description="accepted for compatibility; there is no padding to leave out")


class CompletionBody(SamplingFields):
    """Body of ``POST /api/v1/completions``."""

    model: str | None = Field(None, description="the served model's name; left out = the served model")
    prompt: str | Ids | Annotated[list[str], Field(min_length=1)] | Annotated[list[Ids], Field(min_length=1)] | None = (
        Field(
            None,
            description="text, token ids, or a list of either; null = start from nothing",
            examples=["Once upon a time"],
        )
    )
    max_tokens: int | None = Field(16, ge=0, le=1 << 20, description="tokens to generate at most; 0 needs echo")
    n: int | None = Field(1, ge=1, le=128, description="choices for each prompt")
    best_of: int | None = Field(
        None, ge=1, le=128, description="generate this many and return the n of the highest mean log-probability"
    )
    temperature: float | None = Field(1.0, ge=0, le=2, description="0 = always the likeliest token")
    top_k: int = Field(0, ge=-1, le=1 << 20, description="keep this many of the likeliest tokens; 0 or -1 = all")
    frequency_penalty: float | None = Field(0.0, ge=-2, le=2, description="lower a token's score by this per use")
    presence_penalty: float | None = Field(0.0, ge=-2, le=2, description="lower a token's score by this once used")
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, max_length=1024, description="added to the score of the token with this id"
    )
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = Field(
        None, description="report each token's log-probability and this many of the likeliest tokens"
    )
    echo: bool | None = Field(False, description="begin the answer with the prompt")
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = Field(
        None, description="strings that end a choice; their text is left out"
    )
    stream: bool | None = Field(False, description="answer with server-sent events")
    stream_options: StreamOptions | None = Field(None, description="only with stream")
    user: str | None = Field(None, max_length=512, description="accepted; it has no effect on the answer")
    suffix: str | None = Field(None, description="not supported: only null or an empty string")
    min_tokens: int = Field(0, ge=0, le=1 << 20, description="no end-of-text token before this many tokens")
    truncate_prompt_tokens: int | None = Field(None, ge=1, description="keep only this many tokens of a prompt's end")
    return_tokens_as_token_ids: bool = Field(False, description="name tokens token_id:<id> in logprobs")
    guided_choice: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=1024)]], Field(min_length=1, max_length=256)]
        | None
    ) = Field(None, description="the answer is one of these strings")
    guided_regex: Annotated[str, Field(min_length=1, max_length=2048)] | None = Field(
        None, description="the answer matches this regular expression"
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, data: Any) -> Any:
        """OpenAI's optional fields are nullable, and null stands for the default."""
        if not isinstance(data, dict):
            return data
        nullable = {
            "max_tokens",
            "n",
            "temperature",
            "top_p",
            "frequency_penalty",
            "presence_penalty",
            "echo",
            "stream",
        }
        return {key: value for key, value in data.items() if value is not None or key not in nullable}

    def check(self) -> Self:
        """Check what concerns more than one field.

        Raises:
            InvalidRequestError: with the field that is wrong.
        """
        n, best_of = self.n or 1, self.best_of or self.n or 1
        if self.suffix:
            raise InvalidRequestError("suffix: this model cannot fill in between two texts", param="suffix")
        if best_of < n:
            raise InvalidRequestError(f"best_of: must be at least n={n}, got {best_of}", param="best_of")
        if best_of > n and self.stream:
            raise InvalidRequestError("best_of: cannot be more than n in a stream", param="best_of")
        if self.stream_options is not None and not self.stream:
            raise InvalidRequestError("stream_options: only allowed with stream=true", param="stream_options")
        if self.max_tokens == 0 and not self.echo:
            raise InvalidRequestError("max_tokens: must be at least 1 without echo, got 0", param="max_tokens")
        if self.min_tokens > (self.max_tokens or 0):
            raise InvalidRequestError(f"min_tokens: must be at most max_tokens={self.max_tokens}", param="min_tokens")
        if self.guided_choice and self.guided_regex:
            raise InvalidRequestError("guided_regex: not together with guided_choice", param="guided_regex")
        return self

    def bias(self, vocabulary: int) -> dict[int, float]:
        """Return `logit_bias` by token id.

        Raises:
            InvalidRequestError: a key is not a token of the model.
        """
        result = {}
        for key, value in (self.logit_bias or {}).items():
            if not (key.isascii() and key.isdecimal() and int(key) < vocabulary):
                message = f"logit_bias: {key[:32]!r} is not a token id from 0 to {vocabulary - 1}"
                raise InvalidRequestError(message, param="logit_bias")
            result[int(key)] = value
        return result
