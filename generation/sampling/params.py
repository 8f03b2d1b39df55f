"""How tokens are chosen, as a request asks for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Dry:
    """The penalty of DRY ("don't repeat yourself"): ``multiplier * base ** (length - allowed_length)``.

    `length` is that of the longest sequence that ends the text, came before, and was followed there by the token.

    Attributes:
        multiplier: above 0.
        base: at least 1.
        allowed_length: sequences shorter than this cost nothing.
        window: how many of the last tokens count, those of the prompt too.
        breakers: tokens over which no sequence reaches.
    """

    multiplier: float
    base: float = 1.75
    allowed_length: int = 2
    window: int = 1 << 20
    breakers: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens. The HTTP layer checks the ranges.

    Attributes:
        do_sample: draw from the distribution; otherwise always the likeliest token.
        temperature: divides the logits; 0 means no sampling.
        top_k: keep this many of the likeliest tokens; 0 = all.
        top_p: keep the likeliest tokens that together hold this probability, in (0, 1].
        min_p: keep tokens with at least this part of the likeliest token's probability, in [0, 1].
        typical_p: keep the tokens closest to the expected information that together hold this probability, in (0, 1].
        repetition_penalty: divides positive and multiplies negative logits of tokens seen in prompt or text; above 0.
        frequency_penalty: subtracted from a token's logit once for every time it was generated.
        presence_penalty: subtracted from a token's logit if it was generated.
        logit_bias: added to the logits of these tokens.
        seed: from 0 to 2**64 - 1; None draws fresh entropy.
        min_tokens: no token that ends the sequence can be chosen before this many tokens.
        ignore_eos: continue past end-of-text; read by the sequence, not by the sampler.
        stop_token_ids: further tokens that end the sequence.
        bad_words: sequences of tokens whose last token cannot follow the others.
        allowed_token_ids: the only tokens that can be chosen; None = all.
        dry: the penalty on repeated sequences; None = off.
        xtc_probability: how often `xtc_threshold` applies, in [0, 1].
        xtc_threshold: of the tokens with at least this probability, only the least likely stays.
    """

    do_sample: bool = True
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop_token_ids: tuple[int, ...] = ()
    bad_words: tuple[tuple[int, ...], ...] = ()
    allowed_token_ids: tuple[int, ...] | None = None
    dry: Dry | None = None
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
