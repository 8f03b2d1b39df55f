"""The state of one prompt inside the engine, from its submission until it is closed exactly once."""

from dataclasses import dataclass, field

from generation.engine.beam import BeamSearch
from generation.engine.request import ERROR, TIMEOUT, GenerationRequest, Token, Update
from generation.engine.sequence import Sequence, TextCodec
from generation.engine.stream import Mailbox
from generation.errors import ApiError, DeadlineError
from generation.observe.telemetry import CANCELLED, Telemetry
from generation.observe.timeline import Timeline


@dataclass(slots=True, eq=False)
class Group:
    """One prompt with its sequences, the progress of its prefill, and its deadline.

    Sequences are created on first use, so that queuing a list of thousands of prompts takes little time.

    Attributes:
        deadline: time of `time.monotonic`, in seconds, at which the request ends.
        staging: staging row of the cache in which the prompt is prefilled; -1 for none.
        prefilled: number of prompt tokens in the cache.
        search: the beam search over the sequences, if the request asks for one.
        prompt_scores: log-probabilities of the prompt's tokens so far, if the request asks for them.
        guest: whether it was admitted to the rows reserved for guests; see `generation.engine.scheduler`.
        held: batch rows that it holds or has reserved.
        closed: whether the request has ended.
    """

    request: GenerationRequest
    codec: TextCodec
    mailbox: Mailbox
    deadline: float
    timeline: Timeline
    telemetry: Telemetry
    staging: int = -1
    prefilled: int = 0
    search: BeamSearch | None = None
    prompt_scores: list[Token] = field(default_factory=list)
    guest: bool = False
    held: int = field(init=False)
    closed: bool = False
    _sequences: list[Sequence] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.held = self.request.choices

    @property
    def sequences(self) -> list[Sequence]:
        """The sequences, one for each choice."""
        if not self._sequences:
            self._sequences = [Sequence(self.request, choice, self.codec) for choice in range(self.request.choices)]
        return self._sequences

    @property
    def generated(self) -> int:
        """Number of tokens generated so far, over all sequences."""
        return sum(one.generated for one in self._sequences)

    def end(self, reason: str) -> None:
        """Finish each unfinished sequence with `reason`, and post its remaining text."""
        for choice in range(0 if self._sequences else self.request.choices):
            self.mailbox.post(Update(self.request.number * self.request.choices + choice, "", (), reason))
        for sequence in self._sequences:
            if sequence.finish_reason is None:
                self.mailbox.post(sequence.finish(reason))

    def close(self, error: ApiError | None = None) -> None:
        """End the request: count it, complete its timeline, and close its part of the mailbox; idempotent."""
        if self.closed:
            return
        self.closed = True
        unfinished = CANCELLED if error is None else TIMEOUT if isinstance(error, DeadlineError) else ERROR
        if error is not None and self.mailbox.requests > 1:
            # The response to the other prompts of the list needs an entry for this one, too.
            self.end(unfinished)
        ends = [(one.finish_reason or unfinished, one.generated) for one in self._sequences]
        self.telemetry.closed(self.timeline, ends or [(unfinished, 0)] * self.request.choices)
        self.mailbox.close(error)
