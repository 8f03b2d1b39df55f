"""Choose the next tokens of one sequence from the logits of a step; turn failures into errors of its request."""

import logging
from collections.abc import Callable

from generation.engine.group import Group
from generation.engine.interface import Logits
from generation.engine.sequence import Sequence
from generation.errors import ApiError, GenerationFailedError
from generation.sampling.together import choose_together

log = logging.getLogger(__name__)


def attempt(choose: Callable[..., None], *arguments: object) -> ApiError | None:
    """Call `choose`; return the error that must end the request, or None on success."""
    try:
        choose(*arguments)
    except ApiError as error:  # the request caused it, such as a guide that has grown too large
        return error
    except Exception:
        log.exception("choosing a token failed")
        return GenerationFailedError("choosing a token failed")
    return None


def choose_ahead(running: list[Sequence], owners: list[Group], logits: Logits) -> list[int | None]:
    """Choose the next tokens of the sequences that can be sampled together; return None for the others.

    Args:
        running: the sequences of the batch.
        owners: their groups.
        logits: shape [len(running), vocabulary].
    """
    samplers = [
        sequence.free_sampler if group.search is None else None for sequence, group in zip(running, owners, strict=True)
    ]
    try:
        return choose_together(logits[:, : running[0].vocabulary], samplers)
    except Exception:
        log.exception("choosing tokens together failed: each is chosen by itself")
        return [None] * len(running)


def choose(sequence: Sequence, group: Group, draft: list[int], rows: Logits, token: int | None = None) -> None:
    """Choose tokens row by row for as long as they equal the draft tokens, and post what can be reported.

    Row i holds the logits after the first i draft tokens. They are valid only if all of these were accepted.

    Args:
        sequence: the sequence to extend.
        group: its group, whose mailbox gets the updates.
        draft: draft tokens that went through the model behind the sequence's last token.
        rows: logits of shape [1 + len(draft), vocabulary].
        token: the token of the only row, if `choose_ahead` has chosen it.
    """
    for place, row in enumerate(rows):
        sequence.length += 1
        update = sequence.take(row, token)
        if update is not None:
            group.mailbox.post(update)
        if sequence.drafter is not None:
            sequence.drafter.push(sequence.last_token)
        if sequence.finish_reason is not None or draft[place : place + 1] != [sequence.last_token]:
            return
