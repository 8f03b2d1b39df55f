"""Response models of chat completions for the OpenAPI document. Tests validate real responses against them."""

from typing import Literal

from pydantic import Field

from generation.api.responses import Answer, CompletionUsage, EventUsage, FinishReason


class _ChatTokenHead(Answer):
    token: str = Field(description="text of the token; its bytes if they are not valid UTF-8")
    logprob: float
    bytes: list[int] = Field(description="bytes of the token; for a special token, those of its name")


class ChatTopToken(_ChatTokenHead):
    """One of the likeliest tokens."""


class ChatToken(_ChatTokenHead):
    """A token of an answer, with its log-probability."""

    top_logprobs: list[ChatTopToken]


class ChatLogprobs(Answer):
    """The tokens of an answer with their log-probabilities."""

    content: list[ChatToken]
    refusal: None


class ChatAnswer(Answer):
    """An answer."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatDelta(Answer):
    """The next part of an answer."""

    role: Literal["assistant"] | None = Field(None, description="in the first event of a choice")
    content: str


class _ChatChoiceHead(Answer):
    index: int
    logprobs: ChatLogprobs | None = Field(description="null without logprobs")
    prompt_token_ids: list[int] | None = Field(None, description="only with return_token_ids")
    token_ids: list[int] | None = Field(None, description="only with return_token_ids; all generated tokens")


class ChatChoice(_ChatChoiceHead):
    """One choice: an answer and its finish reason."""

    message: ChatAnswer
    finish_reason: FinishReason


class ChatChoicePart(_ChatChoiceHead):
    """The next part of one choice; the last part has the finish reason."""

    delta: ChatDelta
    finish_reason: FinishReason | None


class _ChatHead(Answer):
    id: str
    created: int = Field(description="seconds since 1970")
    model: str
    system_fingerprint: str = Field(description="the same fingerprint, seed and request give the same answer")


class ChatCompletion(_ChatHead):
    """A whole chat completion."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: CompletionUsage


class ChatCompletionChunk(_ChatHead):
    """An event of a streamed chat completion."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatChoicePart]
    usage: EventUsage | None = Field(
        None,
        description="with stream_options.include_usage: the usage in the last event, null in the others; with "
        "stream_options.continuous_usage_stats: the usage of the choice so far",
    )
