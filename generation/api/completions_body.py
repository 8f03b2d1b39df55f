"""The body of ``POST /api/v1/completions``: OpenAI's fields, and the extensions of vLLM and llama.cpp."""

from typing import Self

from pydantic import Field

from generation.api.completions_extensions import PromptFields
from generation.api.completions_prompt import Prompts
from generation.api.openai_body import OpenAIBody
from generation.errors import refused

# Fields that choose or constrain single tokens have no meaning, or no agreed one, in beam search.
WITHOUT_BEAMS = (
    "allowed_token_ids", "bad_words", "dry_multiplier", "frequency_penalty", "guided_choice", "guided_grammar",
    "guided_json", "guided_regex", "logit_bias", "logprob_token_ids", "logprobs", "min_p", "min_tokens",
    "presence_penalty", "repetition_penalty", "response_format", "stop", "structured_outputs", "top_k", "top_p",
    "typical_p", "xtc_probability",
)  # fmt: skip


class CompletionBody(OpenAIBody, PromptFields):
    """Body of ``POST /api/v1/completions``. In every field null stands for the default."""

    prompt: Prompts = Field(
        ("",),
        description="text, token ids, or a list of either; omitted or empty = start from the beginning-of-text token",
        examples=["Once upon a time"],
    )
    max_tokens: int = Field(
        16, ge=0, le=1 << 20, description="maximum number of tokens to generate; 0 needs echo or prompt_logprobs"
    )
    best_of: int | None = Field(
        None, ge=0, le=128, description="generate this many, return the n with the highest mean log-probability; 0 = n"
    )
    logprobs: int | None = Field(
        None,
        ge=-1,
        le=20,
        description="report the log-probabilities of each token and of this many likeliest tokens; -1 = all",
    )
    echo: bool = Field(False, description="begin the answer with the prompt")
    suffix: str = Field("", description="not supported; only null or an empty string is accepted")

    @property
    def choices(self) -> int:
        """Sequences to generate for each prompt."""
        return self.best_of or self.n

    @property
    def reported(self) -> int | None:
        """Alternatives to report with each token; -1 = all, None = no report."""
        return 0 if self.logprobs is None and self.logprob_token_ids else self.logprobs

    def check(self) -> Self:
        """Check the rules that concern more than one field.

        Raises:
            InvalidRequestError: with the field that is wrong.
        """
        if self.suffix:
            raise refused("suffix", "this model cannot fill in text between two texts")
        if self.choices < self.n:
            raise refused("best_of", f"must be at least n={self.n}, got {self.best_of}")
        if self.choices > self.n and self.stream:
            raise refused("best_of", "cannot be more than n in a stream")
        if self.max_tokens == 0 and not self.echo and self.prompt_logprobs is None:
            raise refused("max_tokens", "must be at least 1 without echo or prompt_logprobs, got 0")
        if self.truncate_prompt_tokens == 0:
            raise refused("truncate_prompt_tokens", "must be -1 or at least 1, got 0")
        self.check_least(self.max_tokens, "max_tokens")
        self._check_beams()
        self.check_shared()
        return self

    def _check_beams(self) -> None:
        if not self.use_beam_search:
            if self.length_penalty != 1:
                raise refused("length_penalty", "only with use_beam_search")
            return
        if self.temperature not in (0, 1):
            raise refused("temperature", f"beam search does not sample: must be 0 or 1, got {self.temperature:g}")
        if self.choices > self.n:
            raise refused("best_of", "not together with use_beam_search, which already returns the best")
        for name in WITHOUT_BEAMS:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise refused(name, "not together with use_beam_search")
