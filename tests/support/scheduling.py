"""Build schedulers, prompts and lists of prompts, and take prompts through the stages of a scheduler by hand."""

from generation.engine.group import Group
from generation.engine.scheduler import Limits, Scheduler
from generation.engine.stream import Bell, Mailbox
from tests.support.fakes import mailbox, request
from tests.support.steps import make_group


def new_scheduler(rows: int = 4, staging: int = 2, tokens: int = 1000, chunk: int = 32, **limits: int) -> Scheduler:
    """Return an idle scheduler with these limits."""
    return Scheduler(Limits(rows=rows, staging=staging, tokens=tokens, chunk=chunk, **limits))


def new_group(prompt: int = 4, choices: int = 1, max_tokens: int = 8) -> Group:
    """Return a request with one prompt of `prompt` tokens."""
    asked = request("x" * prompt, max_tokens, choices=choices)
    return make_group(asked, mailbox(), deadline=1e9)


def new_list(prompts: int, prompt: int = 4, choices: int = 1, max_tokens: int = 8) -> list[Group]:
    """Return the prompts of one request."""
    asked, box = request("x" * prompt, max_tokens, choices=choices), Mailbox(Bell(), requests=prompts)
    return [make_group(asked, box, deadline=1e9) for _ in range(prompts)]


def add(scheduler: Scheduler, *groups: Group) -> None:
    """Check and queue requests with one prompt each."""
    for group in groups:
        scheduler.check([group.request])
        scheduler.add([group], retry_after_s=7)


def start(scheduler: Scheduler, group: Group) -> None:
    """Move an admitted prompt from its staging row to the batch, as the end of its prefill does."""
    for sequence in group.sequences:
        scheduler.join(group, sequence)
    scheduler.leave_staging(group)


def finish(scheduler: Scheduler, group: Group) -> None:
    """End all sequences of an admitted prompt."""
    if group in scheduler.prefilling:
        start(scheduler, group)
    for sequence in group.sequences:
        scheduler.retire(group, sequence)
