"""The body of ``POST /api/v1/chat/completions``: OpenAI's fields, and the extensions of completions."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from generation.api.bodies import Body, at_most
from generation.api.nullable import NullableBody
from generation.api.openai_body import OpenAIBody
from generation.errors import refused

MOST_MESSAGES = 4096
MOST_PARTS = 64
MOST_LABELS = 16
_Nothing = Annotated[list[Any], Field(max_length=0)]
_NO_TOOLS = "not supported; only null or an empty list is accepted"


class TextPart(Body):
    """A text part of a message."""

    type: Literal["text"]
    text: str


class ChatMessage(NullableBody):
    """One message of the chat."""

    role: Literal["system", "developer", "user", "assistant"] = Field(
        description="author of the message; developer is the newer name of system"
    )
    content: str | Annotated[list[TextPart], at_most(MOST_PARTS)] = Field(
        "", description="text, or a list of text parts, which are joined with line breaks"
    )
    name: str | None = Field(None, max_length=64, description="passed to the template")
    refusal: str | None = Field(None, description="accepted and ignored")
    annotations: list[Any] | None = Field(None, description="accepted and ignored")
    audio: None = Field(None, description="only null is accepted")
    function_call: None = Field(None, description="only null is accepted")
    tool_calls: _Nothing | None = Field(None, description=_NO_TOOLS)

    def for_template(self) -> dict[str, str]:
        """Return the message in the form that templates read."""
        content = self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": content} | ({} if self.name is None else {"name": self.name})


class ChatBody(OpenAIBody):
    """Body of ``POST /api/v1/chat/completions``. In every optional field, null means the default."""

    messages: Annotated[list[ChatMessage], at_most(MOST_MESSAGES)] = Field(
        min_length=1, description="the chat so far", examples=[[{"role": "user", "content": "Hello"}]]
    )
    max_completion_tokens: int | None = Field(
        None, ge=1, le=1 << 20, description="maximum number of tokens to generate; default: what the context allows"
    )
    max_tokens: int | None = Field(None, ge=1, le=1 << 20, description="older name of max_completion_tokens")
    logprobs: bool = Field(False, description="report the log-probability of each token")
    top_logprobs: int | None = Field(
        None, ge=0, le=20, description="with logprobs, also report this many of the likeliest tokens"
    )
    add_generation_prompt: bool = Field(
        True, description="end the prompt with the template's start of an answer, if any"
    )
    tools: _Nothing | None = Field(None, description=_NO_TOOLS)
    tool_choice: Literal["none", "auto"] | None = Field(None, description="accepted; tools are not supported")
    parallel_tool_calls: bool | None = Field(None, description="accepted; tools are not supported")
    modalities: list[Literal["text"]] | None = Field(None, description="accepted; answers are always text")
    store: Literal[False] | None = Field(None, description="accepted; nothing is stored")
    metadata: Annotated[dict[str, str], at_most(MOST_LABELS)] | None = Field(
        None, description="accepted; it has no effect on the answer"
    )
    service_tier: Literal["auto", "default"] | None = Field(
        None, description="accepted; it has no effect on the answer"
    )
    safety_identifier: str | None = Field(None, max_length=512, description="accepted; it has no effect on the answer")
    prompt_cache_key: str | None = Field(None, max_length=512, description="accepted; it has no effect on the answer")

    @property
    def new_tokens(self) -> int | None:
        """Maximum number of tokens to generate, from either field."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def new_tokens_field(self) -> str:
        """The field that sets the maximum number of tokens."""
        return "max_completion_tokens" if self.max_tokens is None else "max_tokens"

    @property
    def reported(self) -> int | None:
        """Number of alternatives to report with each token; None = no report."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def check(self) -> Self:
        """Check the rules that concern more than one field.

        Raises:
            InvalidRequestError: a field is not allowed with another; the error names it.
        """
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise refused("max_tokens", "not together with max_completion_tokens, its newer name")
        if self.top_logprobs is not None and not self.logprobs:
            raise refused("top_logprobs", "only allowed with logprobs=true")
        if self.logprob_token_ids is not None and not self.logprobs:
            raise refused("logprob_token_ids", "only allowed with logprobs=true")
        if self.new_tokens is not None:
            self.check_least(self.new_tokens, self.new_tokens_field)
        self.check_shared()
        return self
