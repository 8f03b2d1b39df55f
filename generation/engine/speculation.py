"""Speculation by prompt lookup: draft the tokens that followed the same tokens earlier in the text (Saxena 2023).

A step computes several tokens of a sequence for little more than the cost of one. The newest token therefore goes
through the model together with a draft of the tokens after it. The sampler then chooses token by token as always; where
it chooses a draft token, the logits after that token are already there. Only tokens that would have been chosen anyway
are accepted, so the answer is the same, byte for byte, sampled or greedy. This needs a graph whose results for a token
do not depend on how many tokens are computed with it: one with an int8 cache.
"""

from collections.abc import Sequence

# How many of the last tokens must have been seen together; the longest first.
NGRAMS = (3, 2)
SMOOTHING = 0.2
# The times of steps that are avoided decay slowly, so that one slow step does not rule out its size permanently.
FORGETTING = 0.99


class Drafter:
    """Drafts the next tokens of one sequence. `hits` is the recent fraction of accepted draft tokens."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self.hits = 0.5
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for token in prompt:
            self._append(token)

    def push(self, token: int) -> None:
        """Append the chosen token, and update `hits` with what would have been drafted in its place."""
        draft = self.draft(1)
        if draft:
            self.hits += SMOOTHING * ((draft[0] == token) - self.hits)
        self._append(token)

    def draft(self, limit: int) -> list[int]:
        """Return up to `limit` draft tokens; none where the last tokens have not been seen together before."""
        tokens = self._tokens
        for size in NGRAMS:
            start = self._after.get(tuple(tokens[-size:])) if len(tokens) >= size else None
            if start is not None:
                draft: list[int] = []
                for place in range(start, start + limit):
                    # Past the end of the text, the draft continues itself.
                    draft.append(tokens[place] if place < len(tokens) else draft[place - len(tokens)])
                return draft
        return []

    def _append(self, token: int) -> None:
        for size in NGRAMS:
            if len(self._tokens) >= size:
                self._after[tuple(self._tokens[-size:])] = len(self._tokens)
        self._tokens.append(token)


class Speculation:
    """Chooses the draft length that maximises the measured tokens per second.

    Args:
        limit: draft tokens for each sequence at most.
        capacity: tokens that a step can compute.
    """

    def __init__(self, limit: int, capacity: int) -> None:
        self._limit = limit
        self._capacity = capacity
        self._seconds: dict[int, float] = {}

    def plan(self, drafters: Sequence[Drafter], room: Sequence[int]) -> list[list[int]]:
        """Return a draft for each sequence, perhaps empty; `room` is the most tokens that may follow in each."""
        share = (self._capacity - len(drafters)) // len(drafters)
        limit = min(self._limit, share)
        while limit > 0:
            drafts = [one.draft(min(limit, most)) for one, most in zip(drafters, room, strict=True)]
            if not any(drafts):
                break
            if self._pays(drafters, drafts):
                return drafts
            limit //= 2
        return [[] for _ in drafters]

    def saw(self, tokens: int, seconds: float) -> None:
        """Record the time of a step of `tokens` tokens."""
        known = self._seconds.get(tokens, seconds)
        self._seconds[tokens] = known + SMOOTHING * (seconds - known)

    def _pays(self, drafters: Sequence[Drafter], drafts: Sequence[list[int]]) -> bool:
        """Return whether more tokens a second are expected than without drafts; a step never timed is worth a try."""
        alone = self._seconds.get(len(drafters))
        tokens = len(drafters) + sum(map(len, drafts))
        together = self._seconds.get(tokens)
        if alone is None:
            return False
        if together is None:
            return True
        gained = sum(
            sum(one.hits**place for place in range(1, len(draft) + 1))
            for one, draft in zip(drafters, drafts, strict=True)
        )
        if (len(drafters) + gained) / together > len(drafters) / alone:
            return True
        self._seconds[tokens] = together * FORGETTING
        return False
