"""A request on its way through the engine. Whatever ends it, it ends here, once."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from generation.engine.request import TIMEOUT, GenerationRequest, Token
from generation.engine.sequence import Sequence
from generation.engine.stream import Mailbox
from generation.errors import ApiError, DeadlineError
from generation.observe.telemetry import CANCELLED, Telemetry
from generation.observe.timeline import Timeline

if TYPE_CHECKING:
    from generation.engine.beam import BeamSearch

FAILED = "error"


@dataclass(slots=True, eq=False)
class Group:
    """One prompt: its sequences, where it is being prefilled, and when it must end.

    Attributes:
        deadline: in seconds of `time.monotonic`.
        staging: the staging row of the cache in which the prompt is prefilled; -1 for none.
        prefilled: tokens of the prompt that are in the cache.
        search: the beam search of the sequences, if they are beams.
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
    search: "BeamSearch | None" = None
    prompt_scores: list[Token] = field(default_factory=list)
    closed: bool = False

    def close(self, error: ApiError | None = None) -> None:
        """End the request: count it, complete its timeline, and tell its reader. Only the first call counts."""
        if self.closed:
            return
        self.closed = True
        # An error of one prompt cancels the others that were submitted with it: they fail of the same cause.
        cause = error or self.mailbox.error
        unfinished = CANCELLED if cause is None else TIMEOUT if isinstance(cause, DeadlineError) else FAILED
        self.telemetry.closed(
            self.timeline, [(one.finish_reason or unfinished, one.generated) for one in self.sequences]
        )
        self.mailbox.close(error)
