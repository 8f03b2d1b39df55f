"""The scheduler: decides which prompts are admitted, prefilled and decoded in the next step.

It handles counts of tokens, rows and requests, and no tensors.

Admission: requests take turns (`generation.engine.turns`), and the prompts of one request are admitted in order. A
prompt waits until there are batch rows for all its sequences and cache for every token that it may need, so a running
sequence is never preempted. The next request in turn blocks those behind it until it fits, so a large one cannot
starve. A few rows are reserved for guests: requests without a running sequence that would otherwise have to wait.

Prefill: prompts are prefilled alternately, one chunk each, so that a long prompt does not delay a short one. Their
sequences then join the batch in the lowest free rows.
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
    """A cache copy that closes a gap in the batch: `length` tokens from row `source` to row `target`."""

    source: int
    target: int
    length: int


@dataclass(slots=True)
class Limits:
    """Bounds on admission and on the queue.

    Attributes:
        rows: batch rows of the cache, without those for guests.
        staging: staging rows of the cache.
        tokens: capacity of the cache in tokens.
        chunk: maximum number of prompt tokens to prefill in a step.
        staged_cost: number of batch tokens that a token in a staging row counts as, because it takes more memory.
        guests: further batch rows, for requests without a running sequence.
        guest_tokens: share of `tokens` that is reserved for guests.
        waiting: maximum number of waiting requests, each with any number of prompts.
        waiting_tokens: maximum number of waiting prompt tokens. One request counts as at most half of this.
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
    """The queue, the prompts being prefilled, and the batch; row i of the cache belongs to ``running[i]``.

    Attributes:
        limits: bounds on admission and on the queue.
        waiting: prompts in the queue, in order of arrival.
        prefilling: prompts in staging rows, in order of admission.
        running: sequences in the batch, by row.
        owner: group of each running sequence.
        waiting_tokens: prompt tokens in the queue.
        waiting_new_tokens: maximum number of tokens that the queued prompts may generate.
        reserved_rows: batch rows that are held or reserved, including those of guests.
        reserved_tokens: cache tokens that are held or reserved, including those of guests.
        guest_rows: the part of `reserved_rows` that guests have.
        guest_tokens: the part of `reserved_tokens` that guests have.
    """

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
        """Return the most cache tokens that `request` may need: its prompt in a staging row, and all its batch rows."""
        prompt = len(request.prompt)
        return self.limits.staged_cost * prompt + request.choices * (prompt + request.max_tokens)

    def check(self, requests: SequenceOf[GenerationRequest]) -> None:
        """Check that each request could run on an idle server.

        Raises:
            TooLargeError: a request needs more batch rows or more cache than there is.
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
        """Queue either all prompts of one request or none. Call `check` first.

        Args:
            groups: the prompts.
            retry_after_s: seconds after which a refused client should try again.

        Raises:
            OverloadedError: the queue is full.
        """
        most = self.limits.waiting_tokens
        prompts = sum(len(group.request.prompt) for group in groups)
        queued = [flow for flow in self._turns if flow.waiting]
        # One request counts as at most half of the queue, and the first is queued at any size, so that a long list of
        # prompts is accepted and still leaves room for others.
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
        """Move prompts from the queue to staging rows, in turn, for as long as they fit."""
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
            self.prefilling.append(group)  # first: if a line below fails, `groups` must still list it
            self._leave_queue(group)
            group.staging = self._free_staging.pop(0)
            self._reserve(group, rows, tokens)

    def _next(self) -> Group | None:
        """Return the prompt to admit next, or None; set its `guest` if it is admitted as one."""
        limits, blocked = self.limits, False
        rows, tokens = self.reserved_rows - self.guest_rows, self.reserved_tokens - self.guest_tokens
        for flow in self._turns.waiting():
            # The last staging row is reserved for a request that is not being prefilled.
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
        """Yield the prompts that prefill a chunk in this step, in turn: at most `Limits.chunk` tokens in all."""
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
        """Return the prompts being prefilled: the first of each request, then the second of each, and so on."""
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
        """Free the staging row of a prefilled or abandoned prompt."""
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
        """Remove a sequence and free its reservation; return the cache copy that closes the gap, if there is a gap.

        Afterwards the first row past the end of the batch is free.
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
        """Remove a prompt from the queue."""
        self._leave_queue(group)
        self._turns.leave(group.mailbox)

    @property
    def busy(self) -> bool:
        """Whether any prompt waits, prefills or decodes."""
        return bool(self.running or self.prefilling or self.waiting)

    @property
    def waiting_requests(self) -> int:
        """Number of requests with a prompt in the queue."""
        return sum(bool(flow.waiting) for flow in self._turns)

    def backlog(self) -> tuple[int, int, int]:
        """Return the queued prompt tokens, the most tokens still to decode, and the batch rows to decode them in."""
        return self.waiting_tokens, self.waiting_new_tokens + self.reserved_tokens, self.limits.rows

    def groups(self) -> list[Group]:
        """Return every prompt that decodes, prefills or waits, in this order."""
        return list(dict.fromkeys([*self.owner.values(), *self.prefilling, *self.waiting]))

    def _reserve(self, group: Group, rows: int, tokens: int) -> None:
        """Reserve rows and tokens; negative numbers free them."""
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
