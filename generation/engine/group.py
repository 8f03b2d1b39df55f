"""A request on its way through the engine. Whatever ends it, it ends here, once."""

from dataclasses import dataclass, field

from generation.engine.request import ERROR, TIMEOUT, GenerationRequest, Token
from generation.engine.sequence import Sequence
from generation.engine.stream import Mailbox
from generation.errors import ApiError, DeadlineError
from generation.observe.telemetry import CANCELLED, Telemetry
from generation.observe.timeline import Timeline


@dataclass(slots=True, eq=False)
class Group:
    """One prompt: its sequences, where it is being prefilled, and when it must end.

    Attributes:
        deadline: in seconds of `time.monotonic`.
        staging: the staging row of the cache in which the prompt is prefilled; -1 for none.
        prefilled: tokens of the prompt that are in the cache.
        guest: whether it runs in the rows that are set aside for guests.
        held: rows that it holds or may come to hold.
        prompt_scores: reports on the prompt's tokens so far, where they were asked for.
    """

    request: GenerationRequest
    sequences: list[Sequence]
    mailbox: Mailbox
    deadline: float
    timeline: Timeline
    telemetry: Telemetry
    staging: int = -1
    prefilled: int = 0
    prompt_scores: list[Token] = field(default_factory=list)
    guest: bool = False
    held: int = field(init=False)
    closed: bool = False

    def __post_init__(self) -> None:
        self.held = self.request.choices

    def end(self, reason: str) -> None:
        """Report what each unfinished sequence has, with the reason of its end."""
        for sequence in self.sequences:
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
            if any(one.generated for one in self.sequences):
                error = None
        self.telemetry.closed(
            self.timeline, [(one.finish_reason or unfinished, one.generated) for one in self.sequences]
        )
        self.mailbox.close(error)
