"""Speculation by prompt lookup: draft the tokens that followed the same tokens earlier in the text (Saxena 2023).

A step computes several tokens of a sequence for little more than the cost of one. It therefore computes the last token
together with a draft of those after it. The sampler then chooses token by token as usual. If it chooses the draft
token, the logits for the next choice are already computed. Only tokens that the sampler chooses anyway are accepted, so
the output is identical with and without speculation, whether sampled or greedy. This requires a graph whose results for
a token do not depend on how many tokens are computed with it: one with an int8 cache.
"""

from collections.abc import Sequence

# Lengths of the token sequences that are looked up, longest first.
NGRAMS = (3, 2)
# Weight of the newest value in moving averages.
SMOOTHING = 0.2
# Factor on the recorded time of a step size each time that it is rejected, so that one slow step does not rule it out
# forever.
FORGETTING = 0.99


class Drafter:
    """Drafts the next tokens of one sequence.

    Attributes:
        hits: moving average of the fraction of tokens that a draft would have predicted, in [0, 1].
    """

    def __init__(self, prompt: Sequence[int]) -> None:
        self.hits = 0.5
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for token in prompt:
            self._append(token)

    def push(self, token: int) -> None:
        """Append the chosen token, and update `hits` by whether a draft would have predicted it."""
        draft = self.draft(1)
        if draft:
            self.hits += SMOOTHING * ((draft[0] == token) - self.hits)
        self._append(token)

    def draft(self, limit: int) -> list[int]:
        """Return `limit` draft tokens, or none if the last tokens have not occurred together before."""
        tokens = self._tokens
        for size in NGRAMS:
            start = self._after.get(tuple(tokens[-size:])) if len(tokens) >= size else None
            if start is not None:
                draft: list[int] = []
                for place in range(start, start + limit):
                    # Past the end of the text, continue with the start of the draft itself.
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
        limit: maximum number of draft tokens per sequence.
        capacity: maximum number of tokens that a step can compute.
    """

    def __init__(self, limit: int, capacity: int) -> None:
        self._limit = limit
        self._capacity = capacity
        self._seconds: dict[int, float] = {}

    def plan(self, drafters: Sequence[Drafter], room: Sequence[int]) -> list[list[int]]:
        """Return a draft for each sequence, possibly empty.

        Args:
            drafters: one for each running sequence.
            room: maximum number of draft tokens for each of them.
        """
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
        """Return whether these drafts should raise the tokens per second; a step size never timed is tried once."""
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
