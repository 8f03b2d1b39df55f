"""The body of ``POST /api/v1/completions``: OpenAI's fields, and the extensions of vLLM and llama.cpp."""

from typing import Self

from pydantic import Field

from generation.api.bodies import Body, SamplingFields
from generation.api.completions_extensions import LlamaFields, VllmFields
from generation.api.completions_prompt import Bias, Prompts, Stops
from generation.api.constraints import GuidedFields
from generation.api.nullable import NullableBody
from generation.errors import refused

# Fields that choose or constrain single tokens have no meaning, or no agreed one, in beam search.
WITHOUT_BEAMS = (
    "allowed_token_ids", "bad_words", "dry_multiplier", "frequency_penalty", "guided_choice", "guided_grammar",
    "guided_json", "guided_regex", "logit_bias", "logprob_token_ids", "logprobs", "min_p", "min_tokens",
    "presence_penalty", "repetition_penalty", "response_format", "stop", "structured_outputs", "top_k", "top_p",
    "typical_p", "xtc_probability",
)  # fmt: skip


class StreamOptions(Body):
    """Options of a streamed answer."""

    include_usage: bool | None = Field(None, description="end the stream with an event that has the usage")
    continuous_usage_stats: bool = Field(
        False,
        description="report the usage of a choice so far in each event; turns include_usage on unless that is false",
    )
    include_obfuscation: bool = Field(False, description="accepted; the server never adds padding")


class CompletionBody(NullableBody, SamplingFields, VllmFields, LlamaFields, GuidedFields):
    """Body of ``POST /api/v1/completions``. In every field null stands for the default."""

    model: str | None = Field(None, description="name of the served model; may be omitted")
    prompt: Prompts = Field(
        ("",),
        description="text, token ids, or a list of either; omitted or empty = start from the beginning-of-text token",
        examples=["Once upon a time"],
    )
    max_tokens: int = Field(
        16, ge=0, le=1 << 20, description="maximum number of tokens to generate; 0 needs echo or prompt_logprobs"
    )
    n: int = Field(1, ge=1, le=128, description="choices for each prompt")
    best_of: int | None = Field(
        None, ge=0, le=128, description="generate this many, return the n with the highest mean log-probability; 0 = n"
    )
    temperature: float = Field(1.0, ge=0, le=2, description="lower is more predictable; 0 = greedy")
    frequency_penalty: float = Field(
        0.0, ge=-2, le=2, description="lower a token's score by this for each time it was generated"
    )
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="lower a token's score by this once it was generated")
    logit_bias: Bias = Field(
        (), description="numbers to add to the scores of tokens, by token id or text; false = never choose them"
    )
    logprobs: int | None = Field(
        None,
        ge=-1,
        le=20,
        description="report the log-probabilities of each token and of this many likeliest tokens; -1 = all",
    )
    echo: bool = Field(False, description="begin the answer with the prompt")
    stop: Stops = Field((), description="strings that end a choice; the text leaves them out by default")
    stream: bool = Field(False, description="stream the answer as server-sent events")
    stream_options: StreamOptions | None = Field(None, description="only with stream")
    user: str | None = Field(None, max_length=512, description="accepted; it has no effect on the answer")
    suffix: str = Field("", description="not supported; only null or an empty string is accepted")

    @property
    def choices(self) -> int:
        """Sequences to generate for each prompt."""
        return self.best_of or self.n

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
        if self.stream_options is not None and not self.stream:
            raise refused("stream_options", "only allowed with stream=true")
        self._check_tokens()
        self._check_beams()
        if (guided := self.constraint()) is not None:
            # The constraint decides where an answer ends; a field that contradicts it would leave no token to choose.
            if self.min_tokens:
                raise refused("min_tokens", f"not together with {guided.param}")
            if self.ignore_eos:
                raise refused("ignore_eos", f"not together with {guided.param}")
        return self

    def _check_tokens(self) -> None:
        if self.max_tokens == 0 and not self.echo and self.prompt_logprobs is None:
            raise refused("max_tokens", "must be at least 1 without echo or prompt_logprobs, got 0")
        if self.truncate_prompt_tokens == 0:
            raise refused("truncate_prompt_tokens", "must be -1 or at least 1, got 0")
        if self.priority:
            raise refused("priority", "requests are served in order of arrival: only 0 is allowed")
        if self.min_tokens > self.max_tokens:
            raise refused("min_tokens", f"must be at most max_tokens={self.max_tokens}, got {self.min_tokens}")

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

    @property
    def reported(self) -> int | None:
        """Alternatives to report with each token; -1 = all, None = no report."""
        return 0 if self.logprobs is None and self.logprob_token_ids else self.logprobs

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
