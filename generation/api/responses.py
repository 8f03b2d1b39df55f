"""Response models for the OpenAPI document. Tests validate real responses against them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(extra="forbid")


class ErrorDetail(Answer):
    """What went wrong."""

    message: str = Field(description="what is wrong and what is allowed")
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None = Field(description="the field that is wrong, if any")
    code: str = Field(description="machine-readable error code", examples=["context_length_exceeded"])


class Failure(Answer):
    """Any error."""

    error: ErrorDetail


class ServedModel(Answer):
    """The model that is loaded."""

    name: str
    precision: Literal["fp32", "int8", "int8-blocks", "int4"]
    context: int = Field(description="maximum number of tokens of prompt and answer together")
    vocabulary: int = Field(description="token ids are below this")
    source_revision: str | None
    chat: bool = Field(description="whether there is a chat template")


class Health(Answer):
    """The state of the process."""

    health: Literal["ok", "failed"]
    version: str
    revision: str | None = Field(description="commit that the image was built from")
    state: Literal["loading", "ready", "draining", "stopped", "failed"]
    model: ServedModel | None = Field(description="null until it is loaded")
    uptime_s: float
    load_s: float | None = Field(description="seconds that loading took; null until it is done")
    reason: str | None = Field(None, description="why the state is failed; absent otherwise")


class Ready(Answer):
    """The model is loaded."""

    ready: Literal[True]


class Usage(Answer):
    """Counts of tokens, over all prompts and all choices that were generated."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class PromptTokenDetails(Answer):
    """Where the tokens of the prompts came from."""

    cached_tokens: int = Field(description="tokens reused from the prefix cache")


class CompletionUsage(Usage):
    """Counts of tokens of a completion."""

    prompt_tokens_details: PromptTokenDetails


class EventUsage(Usage):
    """Counts of tokens in an event: of the choice so far, or of all in the last event."""

    prompt_tokens_details: PromptTokenDetails | None = Field(None, description="in the last event")


class GeneratedSequences(Answer):
    """Sequences, as the workshop app returned them."""

    generated_sequences: list[str]


class Generated(GeneratedSequences):
    """Whole sequences with finish reasons and usage."""

    finish_reasons: list[Literal["stop", "length", "timeout"]]
    usage: Usage


class GeneratedEvent(Answer):
    """More text of one sequence."""

    index: int
    text: str
    finish_reason: Literal["stop", "length", "timeout"] | None = Field(
        None, description="in the last event of a sequence"
    )


class Logprobs(Answer):
    """Parallel lists, an entry for each token; the first token of a prompt has no probability."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int] = Field(description="offset of the token's text in the text of the choice, in characters")


class PromptLogprob(Answer):
    """A token at one position of the prompt."""

    logprob: float
    rank: int = Field(description="1 for the likeliest token at this position")
    decoded_token: str


# "error": the computation of one prompt of a list failed.
FinishReason = Literal["stop", "length", "error"]


class _ChoiceHead(Answer):
    index: int = Field(description="index of the prompt times n, plus index of the choice")
    text: str
    logprobs: Logprobs | None
    prompt_logprobs: list[dict[str, PromptLogprob] | None] | None = Field(
        None, description="only if requested: for each prompt token, it and the likeliest tokens at its position, by id"
    )
    prompt_token_ids: list[int] | None = Field(None, description="only with return_token_ids")
    token_ids: list[int] | None = Field(None, description="only with return_token_ids; all generated tokens")


class Choice(_ChoiceHead):
    """One answer to one prompt."""

    finish_reason: FinishReason


class ChoicePart(_ChoiceHead):
    """More of one choice; the last part has the finish reason."""

    finish_reason: FinishReason | None


class _CompletionHead(Answer):
    id: str
    object: Literal["text_completion"]
    created: int = Field(description="seconds since 1970")
    model: str
    system_fingerprint: str = Field(description="the same fingerprint, seed and request give the same answer")


class Completion(_CompletionHead):
    """A whole completion."""

    choices: list[Choice]
    usage: CompletionUsage


class CompletionEvent(_CompletionHead):
    """A part of a completion."""

    choices: list[ChoicePart]
    usage: EventUsage | None = Field(
        None,
        description="with stream_options.include_usage: null, and in the last event the usage; with "
        "stream_options.continuous_usage_stats: the usage of the choice so far",
    )


class ModelCard(Answer):
    """A model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: None
    max_model_len: int = Field(description="context window in tokens")


class ModelList(Answer):
    """The served models: one."""

    object: Literal["list"]
    data: list[ModelCard]


class Tokens(Answer):
    """A text in tokens."""

    tokens: list[int]
    pieces: list[str] = Field(description="text of each token; U+FFFD for parts of characters")
    token_strs: list[str] | None = Field(description="the tokens as the vocabulary spells them; null unless requested")
    count: int
    max_context: int
    max_model_len: int = Field(description="the same, under vLLM's name")


class Text(Answer):
    """Tokens as text."""

    prompt: str


class TokenizerInfo(Answer):
    """The tokenizer, in the form that lm-eval's remote tokenizer reads."""

    tokenizer_class: str
    bos_token: str
    eos_token: str
    pad_token: None
    unk_token: str
    model_max_length: int
    add_prefix_space: bool
    chat_template: str | None


class Version(Answer):
    """The running version."""

    version: str
