"""Samplers and logits for tests: random, but the same for the same seed."""

from typing import Any

import numpy as np

from generation.sampling.params import SamplingParams
from generation.sampling.sampler import Sampler
from generation.sampling.selection import Floats

END = 7
GPT2 = 50257


def logits_of(seed: int, size: int = 5000) -> Floats:
    """Return random logits, [size]."""
    return (np.random.default_rng(seed).normal(size=size) * 3).astype(np.float32)


def new_sampler(index: int = 0, prompt: tuple[int, ...] = (1, 2), **params: Any) -> Sampler:
    """Return a sampler, by default with the seed 5; `END` ends a text."""
    return Sampler(SamplingParams(**({"seed": 5} | params)), index, prompt, [END])


def sample(sampler: Sampler, count: int = 20) -> list[int]:
    """Return `count` tokens, each chosen from different logits."""
    return [sampler.choose(logits_of(step)) for step in range(count)]
