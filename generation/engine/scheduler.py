"""Which sequences run in the next step. It counts tokens, rows and requests, and knows no tensors.

Requests take turns (`generation.engine.turns`); the prompts of one request are admitted in their order. A prompt waits
until there are rows for all its sequences and room in the cache for every token that it may ever need, so that nothing
that runs is ever put back. What is next in turn keeps free rows for itself, so that nothing large starves. A few rows
are set aside for guests: requests of which nothing runs yet and that would wait for the sequences of others to end.

The prompts of a few requests are prefilled in turns, a chunk each, so that a long prompt does not hold up a short one;
then their sequences join the batch in the lowest free rows.
"""

from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from typing import NamedTuple

from generation.engine.group import Group
from generation.engine.request import GenerationRequest
from generation.engine.sequence import Sequence
from generation.engine.turns import Flow, Turns
from generation.errors import OverloadedError, TooLargeError


class Move(NamedTuple):
    """A row of the batch that takes the place of one that left."""

    source: int
    target: int
    length: int


@dataclass(slots=True)
class Limits:
    """Bounds on admission: `rows` and `staging` of the cache, `tokens` it may hold, and what may wait.

    Attributes:
        guests: rows of the batch besides `rows`, for requests of which nothing runs yet.
        guest_tokens: what these may hold, out of `tokens`.
        staged_cost: what a token in a staging row counts: it may take more memory than one in the batch.
        waiting: requests that may wait, whatever the number of their prompts.
        waiting_tokens: prompt tokens that may wait. One request counts as half of it at most.
    """

    rows: int
    staging: int
    tokens: int
    chunk: int
    staged_cost: int = 1
    guests: int = 0
    guest_tokens: int = 0
    waiting: int = 256
    waiting_tokens: int = 32768


@dataclass(slots=True)
class Scheduler:
    """The queue, the prompts being prefilled and the running batch; row i of the cache belongs to ``running[i]``."""

    limits: Limits
    waiting: dict[Group, None] = field(default_factory=dict)
    prefilling: deque[Group] = field(default_factory=deque)
    running: list[Sequence] = field(default_factory=list)
    owner: dict[Sequence, Group] = field(default_factory=dict)
    waiting_tokens: int = 0
    waiting_new_tokens: int = 0
    reserved_rows: int = 0
    reserved_tokens: int = 0
    guest_rows: int = 0
    guest_tokens: int = 0
    _turns: Turns = field(default_factory=Turns)
    _chunks: int = 0
    _free_staging: list[int] = field(init=False)

    def __post_init__(self) -> None:
        first = self.limits.rows + self.limits.guests
        self._free_staging = list(range(first, first + self.limits.staging))

    def cost(self, request: GenerationRequest) -> int:
        """Return the cache tokens that `request` may come to hold: its prompt once while prefilling, and every row."""
        prompt = len(request.prompt)
        return self.limits.staged_cost * prompt + request.choices * (prompt + request.max_tokens)

    def check(self, requests: SequenceOf[GenerationRequest]) -> None:
        """Refuse what could never run, however idle the server.

        Raises:
            TooLargeError: a request needs more rows or more cache than there is.
        """
        tokens = self.limits.tokens - self.limits.guest_tokens
        for request in requests:
            if request.choices > self.limits.rows:
                message = f"{request.choices} sequences are more than the {self.limits.rows} that can run at once"
                raise TooLargeError(message, param="n")
            if self.cost(request) > tokens:
                message = f"this may need {self.cost(request)} tokens of cache, and there are {tokens}"
                raise TooLargeError(f"{message}: ask for fewer sequences or fewer tokens")

    def add(self, groups: SequenceOf[Group], retry_after_s: float) -> None:
        """Queue the prompts of one request, which `check` has let pass; all of them or none.

        Raises:
            OverloadedError: the queue is full.
        """
        most = self.limits.waiting_tokens
        prompts = sum(len(group.request.prompt) for group in groups)
        queued = [flow for flow in self._turns if flow.waiting]
        # One request counts as half of the queue at most, and the first may wait however long: a long list leaves room.
        share = max(1, most // 2)
        tokens = sum(min(flow.tokens, share) for flow in queued) + min(prompts, share)
        if queued and (len(queued) >= self.limits.waiting or tokens > most):
            message = "the server has more work than it can queue; try again later"
            raise OverloadedError(message, retry_after_s=retry_after_s)
        for group in groups:
            flow = self._turns.join(group.mailbox)
            flow.waiting.append(group)
            flow.tokens += len(group.request.prompt)
            self.waiting[group] = None
        self.waiting_tokens += prompts
        self.waiting_new_tokens += sum(group.request.choices * group.request.max_tokens for group in groups)

    def admit(self) -> None:
        """Move prompts, as requests take turns, from the queue to a staging row for as long as they fit."""
        while self.waiting and self._free_staging:
            group = self._next()
            if group is None:
                return
            rows, tokens = group.request.choices, self.cost(group.request)
            flow = self._turns[group.mailbox]
            self._turns.charge(flow, len(group.request.prompt) + rows * max(1, group.request.max_tokens))
            flow.running += 1
            flow.prefilling += 1
            self._chunks += 1
            flow.prefilled_at = flow.prefilled_at or self._chunks
            self.prefilling.append(group)  # first of all: it must never be in no list
            self._leave_queue(group)
            group.staging = self._free_staging.pop(0)
            self._reserve(group, rows, tokens)

    def _next(self) -> Group | None:
        """Return the prompt to admit, if one may be; mark it if it is a guest."""
        limits, blocked = self.limits, False
        rows, tokens = self.reserved_rows - self.guest_rows, self.reserved_tokens - self.guest_tokens
        for flow in self._turns.waiting():
            # The last staging row is for another request.
            if flow.prefilling and len(self._free_staging) == 1 and limits.staging > 1:
                continue
            group = flow.waiting[0]
            choices, cost = group.request.choices, self.cost(group.request)
            if not blocked and rows + choices <= limits.rows and tokens + cost <= limits.tokens - limits.guest_tokens:
                return group
            if self._may_be_guest(flow, choices, cost):
                group.guest = True
                return group
            blocked = True
            if self.guest_rows >= limits.guests:
                return None
        return None

    def _may_be_guest(self, flow: Flow, choices: int, cost: int) -> bool:
        limits = self.limits
        return (
            not flow.running
            and self.guest_rows + choices <= limits.guests
            and self.guest_tokens + cost <= limits.guest_tokens
        )

    def chunks(self) -> Iterator[Group]:
        """Yield the prompts that get to prefill a chunk in this step: up to one chunk's worth, requests in turns."""
        budget = self.limits.chunk
        for position, group in enumerate(self._in_turns()):
            left = len(group.request.prompt) - group.prefilled
            cost = min(left, self.limits.chunk)
            if position and cost > budget:
                return
            budget -= cost
            self._chunks += 1
            self._turns[group.mailbox].prefilled_at = self._chunks  # the next step begins with another request
            yield group

    def _in_turns(self) -> list[Group]:
        """Return the prompts to prefill: the first of each request, then the second of each, and so on."""
        if not self.prefilling:
            return []
        places: dict[Flow, int] = {}
        order = []
        for group in self.prefilling:
            flow = self._turns[group.mailbox]
            places[flow] = places.get(flow, -1) + 1
            order.append((places[flow], flow.prefilled_at, group))
        return [group for *_, group in sorted(order, key=lambda one: one[:2])]

    def leave_staging(self, group: Group) -> None:
        """Take a prefilled (or abandoned) request out of its staging row."""
        self.prefilling.remove(group)
        self._free_staging.append(group.staging)
        self._turns[group.mailbox].prefilling -= 1
        self._reserve(group, 0, -self.limits.staged_cost * len(group.request.prompt))

    def join(self, group: Group, sequence: Sequence) -> int:
        """Add a sequence to the batch; return its row."""
        self.running.append(sequence)
        self.owner[sequence] = group
        return len(self.running) - 1

    def retire(self, group: Group, sequence: Sequence) -> Move | None:
        """Take a sequence out; return the move that closes the gap if it leaves one in the batch.

        Afterwards the row past the end of the batch is the one that is free.
        """
        self._reserve(group, -1, -len(group.request.prompt) - group.request.max_tokens)
        group.held -= 1
        if not group.held:
            self._turns[group.mailbox].running -= 1
            self._turns.leave(group.mailbox)
        if sequence not in self.owner:
            return None
        del self.owner[sequence]
        row = self.running.index(sequence)
        last = self.running.pop()
        if last is sequence:
            return None
        self.running[row] = last
        return Move(source=len(self.running), target=row, length=last.length)

    def drop(self, group: Group) -> None:
        """Take a request out of the queue."""
        self._leave_queue(group)
        self._turns.leave(group.mailbox)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.running or self.prefilling or self.waiting)

    @property
    def waiting_requests(self) -> int:
        """Requests with a prompt in the queue."""
        return sum(bool(flow.waiting) for flow in self._turns)

    def backlog(self) -> tuple[int, int, int]:
        """Return (prompt tokens to prefill, new tokens to decode at most, rows to decode in)."""
        return self.waiting_tokens, self.waiting_new_tokens + self.reserved_tokens, self.limits.rows

    def groups(self) -> list[Group]:
        """Return every request on its way, oldest first."""
        return list(dict.fromkeys([*self.owner.values(), *self.prefilling, *self.waiting]))

    def _reserve(self, group: Group, rows: int, tokens: int) -> None:
        """Set aside rows and tokens; give them back where they are below 0."""
        self.reserved_rows += rows
        self.reserved_tokens += tokens
        if group.guest:
            self.guest_rows += rows
            self.guest_tokens += tokens

    def _leave_queue(self, group: Group) -> None:
        flow = self._turns[group.mailbox]
        flow.waiting.remove(group)
        flow.tokens -= len(group.request.prompt)
        del self.waiting[group]
        self.waiting_tokens -= len(group.request.prompt)
        self.waiting_new_tokens -= group.request.choices * group.request.max_tokens
