"""Response models of Hugging Face's contract for the OpenAPI document. Tests validate real responses against them."""

from typing import Literal

from pydantic import Field, RootModel

from generation.api.responses import Answer


class HfFailure(Answer):
    """An error of this contract."""

    error: str = Field(description="what is wrong and what is allowed")
    error_type: Literal["validation", "overloaded", "generation", "incomplete_generation"]


class HfPromptToken(Answer):
    """A token of the prompt."""

    id: int
    text: str
    logprob: float | None = Field(description="null for the first token")


class HfToken(Answer):
    """A generated token."""

    id: int
    text: str
    logprob: float
    special: bool = Field(description="true for a token that is not part of the text, such as end-of-text")


class _HfEnd(Answer):
    finish_reason: Literal["length", "eos_token", "stop_sequence"]
    generated_tokens: int
    seed: int | None = Field(description="the given seed or a random one; null without sampling")


class _HfReport(_HfEnd):
    prefill: list[HfPromptToken] = Field(description="empty without decoder_input_details")
    tokens: list[HfToken]
    top_tokens: list[list[HfToken]] | None = Field(None, description="only with top_n_tokens")


class HfSequence(_HfReport):
    """A sequence of best_of that was not the best."""

    generated_text: str


class HfDetails(_HfReport):
    """The tokens of the text and its finish reason."""

    best_of_sequences: list[HfSequence] | None = Field(None, description="only with best_of above 1")


class HfGenerated(Answer):
    """The generated text."""

    generated_text: str
    details: HfDetails | None = Field(None, description="only with details or decoder_input_details")


class HfAnswer(RootModel[list[HfGenerated]]):
    """A list with the generated text as its only entry."""


class HfStreamEnd(_HfEnd):
    """Finish reason and counts of a stream."""

    input_length: int = Field(description="number of tokens of the prompt")


class HfEvent(Answer):
    """The next token; the last event also has the whole text."""

    index: int = Field(description="1 for the first token")
    token: HfToken
    top_tokens: list[HfToken] | None = Field(None, description="only with top_n_tokens")
    generated_text: str | None
    details: HfStreamEnd | None
