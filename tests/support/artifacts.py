"""Prompts for tests on small random artifacts."""

import numpy as np

_RANDOM = np.random.default_rng(0)
PROMPTS: list[list[int]] = [_RANDOM.integers(0, 400, length).tolist() for length in (1, 5, 40, 150)]
LENGTHS = (130, 17, 1, 64, 33)
