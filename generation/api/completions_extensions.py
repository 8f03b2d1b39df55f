"""Fields beyond OpenAI's: vLLM's, then some of llama.cpp's. Chat has all but those of prompts."""

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
    """Fields of vLLM's server, with the same meaning."""

    top_k: int = Field(0, ge=-1, le=1 << 20, description="keep this many of the likeliest tokens; 0 or -1 = all")
    min_tokens: int = Field(
        0, ge=0, le=1 << 20, description="minimum number of tokens; no stop token or stop string ends a choice earlier"
    )
    stop_token_ids: _Ids = Field([], description="tokens that end a choice, besides the end-of-text token")
    include_stop_str_in_output: bool = Field(False, description="include the stop string or stop token in the text")
    skip_special_tokens: bool = Field(True, description="leave special tokens out of the text")
    spaces_between_special_tokens: bool = Field(True, description="accepted; this tokenizer adds no spaces")
    bad_words: list[_Word] = Field([], max_length=MOST_WORDS, description="words that are never generated")
    allowed_token_ids: Annotated[_Ids, Field(min_length=1)] | None = Field(
        None, description="generate only these tokens"
    )
    logprob_token_ids: Annotated[list[TokenId], Field(max_length=MOST_NAMED)] | None = Field(
        None, description="also report these tokens in top_logprobs"
    )
    return_tokens_as_token_ids: bool = Field(False, description="name tokens in logprobs by id, as token_id:<id>")
    return_token_ids: bool = Field(
        False, description="report the token ids of the prompt and of the choice; in a stream, in each event"
    )
    priority: int = Field(0, description="only 0: requests are served in order of arrival")
    request_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_.:-]{1,128}$", description="used in the answer's id, after cmpl- or chatcmpl-"
    )
    cache_salt: str = Field(
        "", max_length=256, description="share the prefix cache only with requests that have the same salt"
    )
    session_id: str | None = Field(None, max_length=512, description="accepted; it has no effect on the answer")


class PromptFields(Body):
    """Fields of vLLM's server for prompts without a template, and its beam search."""

    add_special_tokens: bool = Field(
        True, description="add the tokenizer's special tokens to a prompt; GPT-2's adds none"
    )
    use_beam_search: bool = Field(
        False, description="search for the likeliest choices with n beams instead of sampling"
    )
    length_penalty: float = Field(
        1.0, ge=-10, le=10, description="with use_beam_search: above 0 favours long choices, below 0 short ones"
    )
    prompt_logprobs: int | None = Field(
        None,
        ge=-1,
        le=20,
        description="report the log-probabilities of each prompt token and of this many likeliest tokens; -1 = all",
    )
    truncate_prompt_tokens: int | None = Field(
        None, ge=-1, description="cut a prompt to this many tokens; -1 = as many as fit beside max_tokens"
    )
    truncation_side: Literal["left", "right"] = Field(
        "left", description="side that truncate_prompt_tokens cuts: left keeps the prompt's end, right its beginning"
    )


class LlamaFields(Body):
    """Samplers of llama.cpp's server."""

    dry_multiplier: float = Field(
        0.0, ge=0, le=100, description="DRY, which penalises repeated sequences: strength; 0 = off"
    )
    dry_base: float = Field(
        1.75, ge=1, le=10, description="DRY: each further repeated token multiplies the penalty by this"
    )
    dry_allowed_length: int = Field(2, ge=1, le=1 << 20, description="DRY: shorter repeated sequences have no penalty")
    dry_penalty_last_n: int = Field(
        -1, ge=-1, le=1 << 20, description="DRY: search this many of the last tokens, the prompt included; -1 = all"
    )
    dry_sequence_breakers: list[_Breaker] = Field(
        ["\n", ":", '"', "*"],
        max_length=64,
        description="DRY: a token that contains one of these ends a sequence",
    )
    xtc_probability: float = Field(
        0.0, ge=0, le=1, description="XTC, exclude top choices: probability that it applies to a token; 0 = off"
    )
    xtc_threshold: float = Field(
        0.1, ge=0, le=1, description="XTC: of the tokens with at least this probability, keep only the least likely"
    )
