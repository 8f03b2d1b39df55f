"""Choose the tokens that follow in one sequence from the logits of a step."""

import logging
from collections.abc import Callable

from generation.engine.group import Group
from generation.engine.interface import Logits
from generation.engine.sequence import Sequence
from generation.errors import ApiError, GenerationFailedError
from generation.sampling.together import choose_together

log = logging.getLogger(__name__)


def attempt(choose: Callable[..., None], *arguments: object) -> ApiError | None:
    """Call `choose`; return the error with which its request must end, if there is one."""
    try:
        choose(*arguments)
    except ApiError as error:  # the request caused it, such as a guide that has grown too large
        return error
    except Exception:
        log.exception("choosing a token failed")
        return GenerationFailedError("choosing a token failed")
    return None


def choose_ahead(running: list[Sequence], owners: list[Group], logits: Logits) -> list[int | None]:
    """Choose the next tokens of those sequences that can be chosen together; None for the others.

    There is a row of logits for each sequence.
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
    """Choose a token from each row while the draft is accepted: a row is valid only if the tokens before it were.

    The `token` of the only row may have been chosen before.
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
