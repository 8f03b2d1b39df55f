"""Speculation by prompt lookup: guess what follows from what followed the same tokens before (Saxena 2023).

A step takes several tokens of a sequence for little more than the price of one. So the newest token goes through the
model together with a guess of those after it; the sampler then chooses token by token as always, and a guess that was
chosen has its successor's logits ready. Nothing is accepted that would not have been chosen: the answer is the same,
byte for byte, sampled or greedy. That needs a graph whose numbers for a token do not depend on how many are computed
with it, which is one with an int8 cache.
"""

from collections.abc import Sequence

# How many of the last tokens must have been seen together; the longest first.
NGRAMS = (3, 2)
SMOOTHING = 0.2
# Times of steps that are not taken are forgotten slowly, so that one slow step does not rule out its like for ever.
FORGETTING = 0.99


class Drafter:
    """Guesses the next tokens of one sequence. `hits` is the part of its guesses that came true lately."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self.hits = 0.5
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for token in prompt:
            self._append(token)

    def push(self, token: int) -> None:
        """Take the token that came; whether or not it was guessed for a step, it shows how good guesses are."""
        guess = self.draft(1)
        if guess:
            self.hits += SMOOTHING * ((guess[0] == token) - self.hits)
        self._append(token)

    def draft(self, limit: int) -> list[int]:
        """Return up to `limit` tokens that may follow; none where the last ones were never seen together."""
        tokens = self._tokens
        for size in NGRAMS:
            start = self._after.get(tuple(tokens[-size:])) if len(tokens) >= size else None
            if start is not None:
                draft: list[int] = []
                for place in range(start, start + limit):
                    # Past its own end the text goes on as guessed, round and round.
                    draft.append(tokens[place] if place < len(tokens) else draft[place - len(tokens)])
                return draft
        return []

    def _append(self, token: int) -> None:
        for size in NGRAMS:
            if len(self._tokens) >= size:
                self._after[tuple(self._tokens[-size:])] = len(self._tokens)
        self._tokens.append(token)


class Speculation:
    """Decides how far to guess in a step: as far as it pays, by the times that steps have taken.

    Args:
        limit: tokens to guess for each sequence at most.
        capacity: tokens that a step can take.
    """

    def __init__(self, limit: int, capacity: int) -> None:
        self._limit = limit
        self._capacity = capacity
        self._seconds: dict[int, float] = {}

    def plan(self, drafters: Sequence[Drafter], room: Sequence[int]) -> list[list[int]]:
        """Return a guess for each sequence, perhaps none; `room` is how many tokens may follow in each at most."""
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
        """Take the time of a step of so many tokens."""
        known = self._seconds.get(tokens, seconds)
        self._seconds[tokens] = known + SMOOTHING * (seconds - known)

    def _pays(self, drafters: Sequence[Drafter], drafts: Sequence[list[int]]) -> bool:
        """Whether more tokens a second are expected than without guesses; a step never timed is worth a try."""
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
