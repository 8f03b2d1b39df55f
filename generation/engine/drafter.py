"""Draft the next tokens of one sequence, and estimate the chance that each is accepted.

A draft token has one of two sources: prompt lookup, which repeats what followed the same tokens earlier in the text
(Saxena 2023), and the artifact's n-gram table. The estimates are corrected by the measured acceptance of each source.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, log
from typing import NamedTuple

from generation.engine.interface import DraftTable

PROMPT, TABLE = "prompt", "table"
SOURCES = (PROMPT, TABLE)
# Lengths of the n-grams to look up in the text, longest first. Each has the initial log-odds that the token after the
# n-gram's earlier occurrence follows it again.
NGRAMS = ((3, 0.0), (2, -0.8))
# Learning rates of the log-odds of a source: within one sequence, and for sequences that start later.
OWN_RATE, SHARED_RATE = 0.4, 0.01
# Maximum absolute correction of the log-odds.
SUREST = 5.0
# The table is not searched if a guess from the text has at least this chance.
ENOUGH = 0.9
# Maximum number of tokens in a context of the table.
CONTEXT = 4


@dataclass(slots=True)
class Experience:
    """Acceptance statistics that all sequences of an engine share.

    Attributes:
        shifts: correction to add to the log-odds of a guess, by source.
        drafted: number of draft tokens since the counters were last read, by source.
        accepted: number of those that were accepted, by source.
    """

    shifts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0.0))
    drafted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))
    accepted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))


class Guess(NamedTuple):
    """A candidate for the next token, with the log-odds that its source gives it."""

    source: str
    token: int
    odds: float


class Drafter:
    """Drafts the next tokens of one sequence. Nothing is indexed before the first call of `chances`."""

    def __init__(
        self, prompt: Sequence[int], table: DraftTable | None = None, shared: Experience | None = None
    ) -> None:
        self._tokens = list(prompt)
        self._table = table
        self._shared = shared or Experience()
        self._shifts = dict(self._shared.shifts)
        # Position in the text of the token after each n-gram. N-grams that end before `_indexed` are included.
        self._after: dict[tuple[int, ...], int] = {}
        self._indexed = 0
        # The guesses for each of the next tokens, best first. They assume the best guess at each earlier position.
        self._ahead: list[list[Guess]] = []
        self._drafted = 0

    def push(self, token: int) -> None:
        """Append the chosen token; learn from the guesses for its position, if there are any."""
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
        """Return the chance that the first draft token is accepted, that the first two are, and so on.

        The list ends after `limit` tokens, at the first token without a guess, or with the first chance below `least`.
        Without `table`, only the text is searched.
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
        """Return the draft of the next step: the first `count` of the tokens that `chances` estimated."""
        self._drafted = count
        draft = [guesses[0] for guesses in self._ahead[:count]]
        for guess in draft:
            self._shared.drafted[guess.source] += 1
        return [guess.token for guess in draft]

    def _look(self, *, table: bool) -> list[Guess]:
        """Return the guesses for the next position after those already guessed, best first."""
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
        """Move the log-odds of the source towards the outcome by one step of logistic regression."""
        for shifts, rate in ((self._shifts, OWN_RATE), (self._shared.shifts, SHARED_RATE)):
            error = hit - _chance(guess.odds + shifts[guess.source])
            shifts[guess.source] = max(-SUREST, min(SUREST, shifts[guess.source] + rate * error))


def _chance(odds: float) -> float:
    return 1 / (1 + exp(-odds))
