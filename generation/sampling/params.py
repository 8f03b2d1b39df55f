"""The sampling parameters of a request."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Dry:
    """Parameters of DRY ("don't repeat yourself"), a penalty on tokens that would extend a repetition.

    The penalty ``multiplier * base ** (length - allowed_length)`` is subtracted from the token's logit. `length` is
    that of the longest sequence at the end of the text that also occurs earlier and is followed there by the token.

    Attributes:
        multiplier: above 0.
        base: at least 1.
        allowed_length: minimum length of a repetition that is penalised.
        window: number of last tokens to search, including the prompt.
        breakers: tokens that no repetition may contain.
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
        do_sample: draw from the distribution; if False, always choose the likeliest token.
        temperature: divides the logits; 0 is greedy.
        top_k: keep this many of the likeliest tokens; 0 = all.
        top_p: keep the fewest likeliest tokens whose probabilities sum to at least this, in (0, 1].
        min_p: keep tokens whose probability is at least this fraction of the top token's, in [0, 1].
        typical_p: keep the fewest tokens with information closest to the entropy whose probabilities sum to at least
            this, in (0, 1].
        repetition_penalty: divides positive and multiplies negative logits of tokens in the prompt or the generated
            text; above 0, and 1 = off.
        frequency_penalty: subtracted from a token's logit for each time it was generated.
        presence_penalty: subtracted from a token's logit once if it was generated.
        logit_bias: added to the logits, by token id.
        seed: from 0 to 2**64 - 1; None draws fresh entropy.
        min_tokens: number of tokens before which no token can end the sequence.
        ignore_eos: continue past end-of-text tokens; the sequence reads this, not the sampler.
        stop_token_ids: further tokens that end the sequence.
        bad_words: forbidden token sequences; the last token cannot follow the others.
        allowed_token_ids: the only tokens that can be chosen; None = all.
        dry: the penalty on repetitions; None = off.
        xtc_probability: probability that XTC ("exclude top choices") applies to a token, in [0, 1].
        xtc_threshold: when XTC applies, drop all tokens with at least this probability but the least likely of them.
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
