"""How tokens are chosen, as a request asks for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
        min_tokens: no end-of-text token can be chosen before this many tokens.
        ignore_eos: continue past end-of-text; read by the sequence, not by the sampler.
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
