"""Fields that the bodies of OpenAI's two contracts share, and the rules between them."""

from pydantic import Field

from generation.api.bodies import Body, SamplingFields
from generation.api.completions_extensions import LlamaFields, VllmFields
from generation.api.completions_prompt import Bias, Stops
from generation.api.constraints import GuidedFields
from generation.api.nullable import NullableBody
from generation.errors import refused


class StreamOptions(Body):
    """Options of a streamed answer."""

    include_usage: bool | None = Field(None, description="end the stream with an event that has the usage")
    continuous_usage_stats: bool = Field(
        False,
        description="report the usage of a choice so far in each event; turns include_usage on unless that is false",
    )
    include_obfuscation: bool = Field(False, description="accepted; the server never adds padding")


class OpenAIBody(NullableBody, SamplingFields, VllmFields, LlamaFields, GuidedFields):
    """What a body of either contract has. In every field null stands for the default."""

    model: str | None = Field(None, description="name of the served model; may be omitted")
    n: int = Field(1, ge=1, le=128, description="choices for each prompt")
    temperature: float = Field(1.0, ge=0, le=2, description="lower is more predictable; 0 = greedy")
    frequency_penalty: float = Field(
        0.0, ge=-2, le=2, description="lower a token's score by this for each time it was generated"
    )
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="lower a token's score by this once it was generated")
    logit_bias: Bias = Field(
        (), description="numbers to add to the scores of tokens, by token id or text; false = never choose them"
    )
    stop: Stops = Field((), description="strings that end a choice; the text leaves them out by default")
    stream: bool = Field(False, description="stream the answer as server-sent events")
    stream_options: StreamOptions | None = Field(None, description="only with stream")
    user: str | None = Field(None, max_length=512, description="accepted; it has no effect on the answer")

    @property
    def choices(self) -> int:
        """Sequences to generate for each prompt."""
        return self.n

    @property
    def reported(self) -> int | None:
        """Alternatives to report with each token; -1 = all, None = no report."""
        raise NotImplementedError

    def check_shared(self) -> None:
        """Check the rules that concern more than one of these fields.

        Raises:
            InvalidRequestError: with the field that is wrong.
        """
        if self.stream_options is not None and not self.stream:
            raise refused("stream_options", "only allowed with stream=true")
        if self.priority:
            raise refused("priority", "requests are served in order of arrival: only 0 is allowed")
        if (guided := self.constraint()) is not None:
            # The constraint decides where an answer ends; a field that contradicts it would leave no token to choose.
            if self.min_tokens:
                raise refused("min_tokens", f"not together with {guided.param}")
            if self.ignore_eos:
                raise refused("ignore_eos", f"not together with {guided.param}")

    def check_least(self, max_tokens: int, name: str) -> None:
        """Check that the least number of tokens is not above the most, the field `name`.

        Raises:
            InvalidRequestError: it is.
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
