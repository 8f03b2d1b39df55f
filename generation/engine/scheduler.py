"""Which sequences run in the next step. It counts tokens, rows and requests, and knows no tensors.

First come, first served. A request waits until there are rows for all its sequences and room in the cache for every
token that it may ever need, so that nothing that runs is ever put back. The prompts of a few requests are prefilled in
turns, a chunk each, so that a long prompt does not hold up a short one; then their sequences join the batch in the
lowest free rows.
"""

from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from typing import NamedTuple

from generation.engine.group import Group
from generation.engine.request import GenerationRequest
from generation.engine.sequence import Sequence
from generation.errors import OverloadedError, TooLargeError


class Move(NamedTuple):
    """A row of the batch that takes the place of one that left."""

    source: int
    target: int
    length: int


@dataclass(slots=True)
class Limits:
    """Bounds on admission: `rows` and `staging` of the cache, `tokens` it may hold, and what may wait.

    A token in a staging row counts as `staged_cost`: it may take more memory than one in the batch.
    """

    rows: int
    staging: int
    tokens: int
    chunk: int
    staged_cost: int = 1
    waiting: int = 256
    waiting_tokens: int = 32768


@dataclass(slots=True)
class Scheduler:
    """The queue, the prompts being prefilled and the running batch; row i of the cache belongs to ``running[i]``."""

    limits: Limits
    waiting: deque[Group] = field(default_factory=deque)
    prefilling: deque[Group] = field(default_factory=deque)
    running: list[Sequence] = field(default_factory=list)
    owner: dict[Sequence, Group] = field(default_factory=dict)
    waiting_tokens: int = 0
    waiting_new_tokens: int = 0
    reserved_rows: int = 0
    reserved_tokens: int = 0
    _free_staging: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._free_staging = list(range(self.limits.rows, self.limits.rows + self.limits.staging))

    def cost(self, request: GenerationRequest) -> int:
        """Return the cache tokens that `request` may come to hold: its prompt once while prefilling, and every row."""
        prompt = len(request.prompt)
        return self.limits.staged_cost * prompt + request.choices * (prompt + request.max_tokens)

    def check(self, requests: SequenceOf[GenerationRequest]) -> None:
        """Refuse what could never run, however idle the server.

        Raises:
            TooLargeError: there are too many requests, or one needs more rows or more cache than there is.
        """
        most = self.limits.rows + self.limits.waiting
        if len(requests) > most:
            message = (
                f"{len(requests)} prompts are more than the {most} that can run or wait: send them in several requests"
            )
            raise TooLargeError(message, param="prompt")
        for request in requests:
            if request.choices > self.limits.rows:
                message = f"{request.choices} sequences are more than the {self.limits.rows} that can run at once"
                raise TooLargeError(message, param="n")
            if self.cost(request) > self.limits.tokens:
                message = f"this may need {self.cost(request)} tokens of cache, and there are {self.limits.tokens}"
                raise TooLargeError(f"{message}: ask for fewer sequences or fewer tokens")

    def add(self, groups: SequenceOf[Group], retry_after_s: float) -> None:
        """Put requests, which `check` has let pass, at the end of the queue; all of them or none.

        Raises:
            OverloadedError: the queue is full.
        """
        prompts = sum(len(group.request.prompt) for group in groups)
        too_many = len(self.waiting) + len(groups) > self.limits.waiting
        too_long = self.waiting_tokens + prompts > self.limits.waiting_tokens
        # What came to an empty queue may wait, however long: it has nobody to wait for but itself.
        if self.waiting and (too_many or too_long):
            message = "the server has more work than it can queue; try again later"
            raise OverloadedError(message, retry_after_s=retry_after_s)
        self.waiting.extend(groups)
        self.waiting_tokens += prompts
        self.waiting_new_tokens += sum(group.request.choices * group.request.max_tokens for group in groups)

    def admit(self) -> None:
        """Move requests from the head of the queue to a staging row for as long as they fit."""
        while self.waiting and self._free_staging:
            group = self.waiting[0]
            rows, tokens = group.request.choices, self.cost(group.request)
            if self.reserved_rows + rows > self.limits.rows or self.reserved_tokens + tokens > self.limits.tokens:
                break
            self._leave_queue(group)
            group.staging = self._free_staging.pop(0)
            self.reserved_rows += rows
            self.reserved_tokens += tokens
            self.prefilling.append(group)

    def chunks(self) -> Iterator[Group]:
        """Yield the requests that get to prefill a chunk in this step, in turns, up to one chunk's worth of work."""
        budget = self.limits.chunk
        for position, group in enumerate(list(self.prefilling)):
            left = len(group.request.prompt) - group.prefilled
            cost = min(left, self.limits.chunk)
            if position and cost > budget:
                return
            budget -= cost
            self.prefilling.rotate(-1)  # the next step begins with the next request
            yield group

    def leave_staging(self, group: Group) -> None:
        """Take a prefilled (or abandoned) request out of its staging row."""
        self.prefilling.remove(group)
        self._free_staging.append(group.staging)
        self.reserved_tokens -= self.limits.staged_cost * len(group.request.prompt)

    def join(self, group: Group, sequence: Sequence) -> int:
        """Add a sequence to the batch; return its row."""
        self.running.append(sequence)
        self.owner[sequence] = group
        return len(self.running) - 1

    def retire(self, group: Group, sequence: Sequence) -> Move | None:
        """Take a sequence out; return the move that closes the gap if it leaves one in the batch.

        Afterwards the row past the end of the batch is the one that is free.
        """
        self.reserved_rows -= 1
        self.reserved_tokens -= len(group.request.prompt) + group.request.max_tokens
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

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.running or self.prefilling or self.waiting)

    def backlog(self) -> tuple[int, int, int]:
        """Return (prompt tokens to prefill, new tokens to decode at most, rows to decode in)."""
        return self.waiting_tokens, self.waiting_new_tokens + self.reserved_tokens, self.limits.rows

    def groups(self) -> list[Group]:
        """Return every request on its way, oldest first."""
        return list(dict.fromkeys([*self.owner.values(), *self.prefilling, *self.waiting]))

    def _leave_queue(self, group: Group) -> None:
        self.waiting.remove(group)
        self.waiting_tokens -= len(group.request.prompt)
        self.waiting_new_tokens -= group.request.choices * group.request.max_tokens
