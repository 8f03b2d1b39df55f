"""Response models of Hugging Face's contract for the OpenAPI document. Tests validate real responses against them."""

from typing import Literal

from pydantic import Field, RootModel

from generation.api.responses import Answer


class HfFailure(Answer):
    """Any error of this contract."""

    error: str = Field(description="what is wrong and what is allowed")
    error_type: Literal["validation", "overloaded", "generation", "incomplete_generation"]


class HfPromptToken(Answer):
    """A token of the prompt."""

    id: int
    text: str
    logprob: float | None = Field(description="null for the first token, which nothing precedes")


class HfToken(Answer):
    """A token of the text."""

    id: int
    text: str
    logprob: float
    special: bool = Field(description="whether it is no part of the text, as the end-of-text token")


class _HfEnd(Answer):
    finish_reason: Literal["length", "eos_token", "stop_sequence"]
    generated_tokens: int
    seed: int | None = Field(description="the given seed or a random one; null without sampling")


class _HfReport(_HfEnd):
    prefill: list[HfPromptToken] = Field(description="empty without decoder_input_details")
    tokens: list[HfToken]
    top_tokens: list[list[HfToken]] | None = Field(None, description="only with top_n_tokens")


class HfSequence(_HfReport):
    """A sequence that was not the best."""

    generated_text: str


class HfDetails(_HfReport):
    """The tokens of the text, and why it ended."""

    best_of_sequences: list[HfSequence] | None = Field(None, description="only with best_of above 1")


class HfGenerated(Answer):
    """A text."""

    generated_text: str
    details: HfDetails | None = Field(None, description="only with details or decoder_input_details")


class HfAnswer(RootModel[list[HfGenerated]]):
    """A list of one text."""


class HfStreamEnd(_HfEnd):
    """Why the text ended."""

    input_length: int = Field(description="tokens of the prompt")


class HfEvent(Answer):
    """One more token; the last event has the whole text."""

    index: int = Field(description="1 for the first token")
    token: HfToken
    top_tokens: list[HfToken] | None = Field(None, description="only with top_n_tokens")
    generated_text: str | None
    details: HfStreamEnd | None
