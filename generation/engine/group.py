"""A request on its way through the engine. Whatever ends it, it ends here, once."""

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
    """One prompt: its sequences, where it is being prefilled, and when it must end.

    The sequences are made when they are first needed, so that a list of thousands is queued in no time.

    Attributes:
        deadline: in seconds of `time.monotonic`.
        staging: the staging row of the cache in which the prompt is prefilled; -1 for none.
        prefilled: tokens of the prompt that are in the cache.
        guest: whether it runs in the rows that are set aside for guests.
        held: rows that it holds or may come to hold.
        search: the beam search of the sequences, if they are beams.
        prompt_scores: reports on the prompt's tokens so far, where they were asked for.
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
        """Its sequences, one for each choice."""
        if not self._sequences:
            self._sequences = [Sequence(self.request, choice, self.codec) for choice in range(self.request.choices)]
        return self._sequences

    @property
    def generated(self) -> int:
        """Tokens that were generated so far."""
        return sum(one.generated for one in self._sequences)

    def end(self, reason: str) -> None:
        """Report what each unfinished sequence has, with the reason of its end."""
        for choice in range(0 if self._sequences else self.request.choices):
            self.mailbox.post(Update(self.request.number * self.request.choices + choice, "", (), reason))
        for sequence in self._sequences:
            if sequence.finish_reason is None:
                self.mailbox.post(sequence.finish(reason))

    def close(self, error: ApiError | None = None) -> None:
        """End the request: count it, complete its timeline, and tell its reader. Only the first call counts."""
        if self.closed:
            return
        self.closed = True
        unfinished = CANCELLED if error is None else TIMEOUT if isinstance(error, DeadlineError) else ERROR
        if error is not None and self.mailbox.requests > 1:
            # Its reader may get the other prompts' answers, where it must find a place for this one.
            self.end(unfinished)
        ends = [(one.finish_reason or unfinished, one.generated) for one in self._sequences]
        self.telemetry.closed(self.timeline, ends or [(unfinished, 0)] * self.request.choices)
        self.mailbox.close(error)
