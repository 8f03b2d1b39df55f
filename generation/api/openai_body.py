"""Fields of both OpenAI request bodies, completions and chat completions, and the rules that combine them."""

from pydantic import Field

from generation.api.bodies import Body, SamplingFields
from generation.api.completions_extensions import LlamaFields, VllmFields
from generation.api.completions_prompt import Bias, Stops
from generation.api.constraints import GuidedFields
from generation.api.nullable import NullableBody
from generation.errors import refused


class StreamOptions(Body):
    """Options of a streamed answer."""

    include_usage: bool | None = Field(None, description="report the usage in a last event")
    continuous_usage_stats: bool = Field(
        False,
        description="report the usage so far in each event; implies include_usage unless that is false",
    )
    include_obfuscation: bool = Field(False, description="accepted; the server never adds padding")


class OpenAIBody(NullableBody, SamplingFields, VllmFields, LlamaFields, GuidedFields):
    """Base of the bodies of completions and chat completions. In every field, null means the default."""

    model: str | None = Field(None, description="name of the served model; may be omitted")
    n: int = Field(1, ge=1, le=128, description="choices for each prompt")
    temperature: float = Field(1.0, ge=0, le=2, description="lower is more predictable; 0 = greedy")
    frequency_penalty: float = Field(
        0.0, ge=-2, le=2, description="lower a token's score by this for each time it was generated"
    )
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="lower a token's score by this once it was generated")
    logit_bias: Bias = Field(
        (), description="numbers to add to the scores of tokens, by token id or text; false = never choose the token"
    )
    stop: Stops = Field((), description="strings that end a choice; by default, they are not part of the text")
    stream: bool = Field(False, description="stream the answer as server-sent events")
    stream_options: StreamOptions | None = Field(None, description="only with stream")
    user: str | None = Field(None, max_length=512, description="accepted; it has no effect on the answer")

    @property
    def choices(self) -> int:
        """Number of sequences to generate for each prompt."""
        return self.n

    @property
    def reported(self) -> int | None:
        """Number of alternatives to report with each token; -1 = all, None = no report."""
        raise NotImplementedError

    def check_shared(self) -> None:
        """Check the rules that concern more than one of these fields.

        Raises:
            InvalidRequestError: a field is not allowed with another; the error names it.
        """
        if self.stream_options is not None and not self.stream:
            raise refused("stream_options", "only allowed with stream=true")
        if self.priority:
            raise refused("priority", "requests are served in order of arrival: only 0 is allowed")
        if (guided := self.constraint()) is not None:
            # The constraint decides where an answer may end. These fields could exclude every token that it allows.
            if self.min_tokens:
                raise refused("min_tokens", f"not together with {guided.param}")
            if self.ignore_eos:
                raise refused("ignore_eos", f"not together with {guided.param}")

    def check_least(self, max_tokens: int, name: str) -> None:
        """Check that `min_tokens` is at most `max_tokens`, the value of the field `name`.

        Raises:
            InvalidRequestError: `min_tokens` is larger.
        """
        if self.min_tokens > max_tokens:
            raise refused("min_tokens", f"must be at most {name}={max_tokens}, got {self.min_tokens}")

    @property
    def usage_at_end(self) -> bool:
        """Whether the last event of a stream has the usage."""
        options = self.stream_options
        if options is None:
            return False
        return options.continuous_usage_stats if options.include_usage is None else options.include_usage

    @property
    def usage_in_events(self) -> bool:
        """Whether every event of a stream has the usage so far."""
        return self.stream_options is not None and self.stream_options.continuous_usage_stats
