"""Fields of ``POST /api/v1/completions`` beyond OpenAI's: those of vLLM's server, then some of llama.cpp's."""

from typing import Annotated, Literal

from pydantic import Field

from generation.api.bodies import Body, TokenId

MOST_IDS = 1 << 16
MOST_WORDS = 256
MOST_NAMED = 128

_Ids = Annotated[list[TokenId], Field(max_length=MOST_IDS)]
_Word = Annotated[str, Field(min_length=1, max_length=256)]
_Breaker = Annotated[str, Field(min_length=1, max_length=32)]


class VllmFields(Body):
    """Fields that clients of vLLM send, with its meaning."""

    top_k: int = Field(0, ge=-1, le=1 << 20, description="keep this many of the likeliest tokens; 0 or -1 = all")
    min_tokens: int = Field(
        0, ge=0, le=1 << 20, description="nothing ends a choice before this many tokens: no token, no stop string"
    )
    stop_token_ids: _Ids = Field([], description="tokens that end a choice, like the end-of-text token")
    include_stop_str_in_output: bool = Field(
        False, description="whether the text of what ended a choice is part of its text"
    )
    skip_special_tokens: bool = Field(True, description="leave special tokens out of the text; false = show them")
    spaces_between_special_tokens: bool = Field(True, description="accepted; this tokenizer adds no spaces")
    add_special_tokens: bool = Field(
        True, description="whether the tokenizer adds its special tokens to a prompt; GPT-2's has none to add"
    )
    use_beam_search: bool = Field(
        False, description="search with n beams for the likeliest choices instead of drawing them"
    )
    length_penalty: float = Field(
        1.0, ge=-10, le=10, description="with use_beam_search: above 0 favours long choices, below 0 short ones"
    )
    bad_words: list[_Word] = Field([], max_length=MOST_WORDS, description="words that are never generated")
    allowed_token_ids: Annotated[_Ids, Field(min_length=1)] | None = Field(
        None, description="generate only these tokens"
    )
    prompt_logprobs: int | None = Field(
        None,
        ge=-1,
        le=20,
        description="report the log-probability of each token of the prompt and this many of the likeliest; -1 = all",
    )
    logprob_token_ids: Annotated[list[TokenId], Field(max_length=MOST_NAMED)] | None = Field(
        None, description="report these tokens in top_logprobs, besides the likeliest"
    )
    return_tokens_as_token_ids: bool = Field(False, description="name tokens token_id:<id> in logprobs")
    return_token_ids: bool = Field(
        False, description="report the ids of the tokens of the prompt and of the choice, in a stream as they come"
    )
    truncate_prompt_tokens: int | None = Field(
        None, ge=-1, description="keep this many tokens of a prompt; -1 = as many as the context window leaves room for"
    )
    truncation_side: Literal["left", "right"] = Field(
        "left", description="where truncate_prompt_tokens cuts: left keeps the end of the prompt, right its beginning"
    )
    priority: int = Field(0, description="only 0: requests are served in the order in which they come")
    request_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_.:-]{1,128}$", description="becomes the id of the answer, after cmpl-"
    )
    cache_salt: str = Field(
        "", max_length=256, description="share the prefix cache only with requests of the same salt"
    )
    session_id: str | None = Field(None, max_length=512, description="accepted; it has no effect on the answer")


class LlamaFields(Body):
    """Samplers of llama.cpp's server."""

    dry_multiplier: float = Field(0.0, ge=0, le=100, description="strength of DRY, against repeated sequences; 0 = off")
    dry_base: float = Field(1.75, ge=1, le=10, description="DRY: each further token multiplies the penalty by this")
    dry_allowed_length: int = Field(2, ge=1, le=1 << 20, description="DRY: shorter repeated sequences cost nothing")
    dry_penalty_last_n: int = Field(
        -1, ge=-1, le=1 << 20, description="DRY: look at this many of the last tokens, with the prompt's; -1 = all"
    )
    dry_sequence_breakers: list[_Breaker] = Field(
        ["\n", ":", '"', "*"],
        max_length=64,
        description="DRY: no sequence reaches over a token with one of these",
    )
    xtc_probability: float = Field(
        0.0, ge=0, le=1, description="XTC, exclude top choices: how often it applies; 0 = off"
    )
    xtc_threshold: float = Field(
        0.1, ge=0, le=1, description="XTC: of the tokens with at least this probability only the least likely stays"
    )
