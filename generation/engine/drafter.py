"""Drafts of one sequence, and how likely they are.

They have two sources: what followed the same tokens earlier in the text (prompt lookup, Saxena 2023), and the
artifact's table of n-grams. The chance of a guess follows what was measured of its source.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, log
from typing import NamedTuple

from generation.engine.interface import DraftTable

PROMPT, TABLE = "prompt", "table"
SOURCES = (PROMPT, TABLE)
# How many of the last tokens must have been seen together in the text, the longest first, and the log-odds that what
# followed them follows again, before anything is measured.
NGRAMS = ((3, 0.0), (2, -0.8))
# How fast the log-odds of a source follow what is measured: in one sequence, and in those that start later.
OWN_RATE, SHARED_RATE = 0.4, 0.01
# Log-odds stay within this bound.
SUREST = 5.0
# A guess from the text that is as likely as this is taken without asking the table.
ENOUGH = 0.9
# Tokens that the table's contexts have at most.
CONTEXT = 4


@dataclass(slots=True)
class Experience:
    """What all sequences of an engine share: how their guesses turned out.

    Attributes:
        shifts: what to add to the log-odds of a guess, by source.
        drafted: draft tokens since they were last read, by source.
        accepted: those of them that were accepted.
    """

    shifts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0.0))
    drafted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))
    accepted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))


class Guess(NamedTuple):
    """A token that may follow, with the log-odds that its source gives it."""

    source: str
    token: int
    odds: float


class Drafter:
    """Guesses the next tokens of one sequence. Until something is asked of it, it only keeps the tokens."""

    def __init__(
        self, prompt: Sequence[int], table: DraftTable | None = None, shared: Experience | None = None
    ) -> None:
        self._tokens = list(prompt)
        self._table = table
        self._shared = shared or Experience()
        self._shifts = dict(self._shared.shifts)
        # Where in the text the tokens after an n-gram are; the n-grams that end before `_indexed` are in it.
        self._after: dict[tuple[int, ...], int] = {}
        self._indexed = 0
        # The guesses for each of the next tokens, the best first; those of a place follow the best of the place before.
        self._ahead: list[list[Guess]] = []
        self._drafted = 0

    def push(self, token: int) -> None:
        """Append the chosen token; learn from the guesses that were made in its place, if any were."""
        self._tokens.append(token)
        if not self._ahead:
            return
        guesses = self._ahead.pop(0)
        for guess in guesses:
            self._learn(guess, hit=guess.token == token)
        hit = bool(guesses) and guesses[0].token == token
        if self._drafted:
            self._drafted -= 1
            self._shared.accepted[guesses[0].source] += hit
        if not hit:
            self._ahead.clear()
            self._drafted = 0

    def chances(self, limit: int, least: float, *, table: bool = True) -> list[float]:
        """Return the chance that a draft of one token is accepted, of two, and so on.

        Ends after `limit` tokens, where nothing is known, or with the first chance below `least`. Without `table`, only
        the text is searched.
        """
        found: list[float] = []
        chance = 1.0
        while len(found) < limit and chance >= least:
            if len(found) == len(self._ahead):
                self._ahead.append(self._look(table=table))
            guesses = self._ahead[len(found)]
            if not guesses:
                break
            source, _, odds = guesses[0]
            chance *= _chance(odds + self._shifts[source])
            found.append(chance)
        return found

    def take(self, count: int) -> list[int]:
        """Return the first `count` of the tokens whose chances were asked for, as the draft of the next step."""
        self._drafted = count
        draft = [guesses[0] for guesses in self._ahead[:count]]
        for guess in draft:
            self._shared.drafted[guess.source] += 1
        return [guess.token for guess in draft]

    def _look(self, *, table: bool) -> list[Guess]:
        """Return the guesses that follow the text and those before, the best first."""
        ahead, context = self._ahead, self._tokens[-CONTEXT:]
        if ahead:
            context = [*context, *(guesses[0].token for guesses in ahead[-CONTEXT:])][-CONTEXT:]
        seen = self._look_up(context)
        likely = 0.0 if seen is None else _chance(seen.odds + self._shifts[PROMPT])
        asked = self._table if table and likely < ENOUGH else None
        known = None if asked is None else asked.guess(context)
        if known is None:
            return [] if seen is None else [seen]
        token, chance = known
        guess = Guess(TABLE, token, log(chance / (1 - chance)))
        if seen is None:
            return [guess]
        return [guess, seen] if _chance(guess.odds + self._shifts[TABLE]) > likely else [seen, guess]

    def _look_up(self, context: list[int]) -> Guess | None:
        tokens, after = self._tokens, self._after
        for end in range(max(self._indexed, 1), len(tokens)):
            for size, _ in NGRAMS:
                if end >= size:
                    after[tuple(tokens[end - size : end])] = end
        self._indexed = len(tokens)
        for size, odds in NGRAMS:
            place = after.get(tuple(context[-size:])) if len(context) >= size else None
            if place is not None:
                return Guess(PROMPT, tokens[place], odds)
        return None

    def _learn(self, guess: Guess, *, hit: bool) -> None:
        """Move the log-odds of the source towards what happened: a step of logistic regression."""
        for shifts, rate in ((self._shifts, OWN_RATE), (self._shared.shifts, SHARED_RATE)):
            error = hit - _chance(guess.odds + shifts[guess.source])
            shifts[guess.source] = max(-SUREST, min(SUREST, shifts[guess.source] + rate * error))


def _chance(odds: float) -> float:
    return 1 / (1 + exp(-odds))
