"""Beam search over the sequences of one request.

Each step extends every beam by every token and keeps the continuations with the highest total log-probability. Results
equal those of `transformers` 4.57 with ``do_sample=False`` and ``early_stopping=False``
(``GenerationMixin._beam_search``). Each beam is an ordinary sequence of the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.sampling.rules import log_softmax, top_k_ids

# The score of beams that do not exist yet and of impossible tokens: lower than any real sequence can score.
NEVER = np.float32(-1e9)

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A finished sequence. Its score is the total log-probability divided by ``length ** length_penalty``."""

    score: float
    tokens: tuple[int, ...]


class BeamSearch:
    """The state of one beam search.

    Args:
        beams: number of unfinished sequences to keep after each step.
        max_tokens: maximum length of a sequence in tokens, at least 1.
        length_penalty: above 0 favours long sequences, below 0 short ones.
        ends: tokens that end a sequence.
    """

    def __init__(self, beams: int, max_tokens: int, length_penalty: float, ends: frozenset[int]) -> None:
        self.done = False
        self.steps = 0
        self._beams, self._max_tokens, self._penalty, self._ends = beams, max_tokens, length_penalty, ends
        self._scores = np.full(beams, NEVER)
        self._scores[0] = 0  # all beams start identical, so only the first may score
        self._tokens: list[tuple[int, ...]] = [()] * beams
        self._finished: list[Hypothesis] = []

    def advance(self, logits: Sequence[Logits]) -> list[int]:
        """Advance every beam by one token.

        A beam with a surviving continuation stays in place. A beam without one takes over a further continuation of
        another beam.

        Args:
            logits: one array of shape [vocabulary] for each beam.

        Returns:
            For each beam, the number of the beam that it now continues.
        """
        total = np.stack([score + log_softmax(row) for score, row in zip(self._scores, logits, strict=True)])
        total = np.maximum(total, 2 * NEVER).astype(np.float32)
        vocabulary = total.shape[1]
        self.steps += 1
        # Enough candidates to leave one unfinished continuation per beam even if every end token is among them.
        candidates = top_k_ids(total.reshape(-1), max(2, 1 + len(self._ends)) * self._beams)
        going_on: list[tuple[int, int, np.float32]] = []
        for place, candidate in enumerate(candidates.tolist()):
            beam, token = divmod(candidate, vocabulary)
            score = total[beam, token]
            if token not in self._ends and self.steps < self._max_tokens:
                if len(going_on) < self._beams:
                    going_on.append((beam, token, score))
            elif place < self._beams:
                penalised = float(score) / self.steps**self._penalty
                self._finished.append(Hypothesis(penalised, (*self._tokens[beam], token)))
        self._finished = sorted(self._finished, key=lambda one: -one.score)[: self._beams]
        if not going_on:
            self.done = True
            return list(range(self._beams))
        parents = self._place(going_on)
        full = len(self._finished) == self._beams
        best = float(self._scores.max()) / self.steps**self._penalty
        self.done = full and best <= self._finished[-1].score
        return parents

    def _place(self, going_on: list[tuple[int, int, np.float32]]) -> list[int]:
        """Assign each continuation to a beam; return the parent of each beam."""
        places: dict[int, tuple[int, int, np.float32]] = {}
        others = []
        for one in going_on:
            if one[0] in places:
                others.append(one)
            else:
                places[one[0]] = one
        free = [place for place in range(self._beams) if place not in places]
        places |= dict(zip(free, others, strict=True))
        ordered = [places[place] for place in range(self._beams)]
        self._tokens = [(*self._tokens[beam], token) for beam, token, _ in ordered]
        self._scores = np.array([score for _, _, score in ordered], np.float32)
        return [beam for beam, _, _ in ordered]

    def last_tokens(self) -> list[int]:
        """Return the newest token of each beam."""
        return [tokens[-1] for tokens in self._tokens]

    def best(self) -> list[tuple[int, ...]]:
        """Return the tokens of the best sequences, one per beam: finished ones first, each kind best first."""
        found = [one.tokens for one in self._finished]
        running = np.argsort(-self._scores, kind="stable").tolist()
        return (found + [self._tokens[beam] for beam in running])[: self._beams]
