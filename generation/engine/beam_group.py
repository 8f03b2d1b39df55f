"""The end of a group before its time, and the beam search of a group: its sequences are the beams."""

from collections.abc import Sequence

from generation.engine.beam import Logits
from generation.engine.group import Group
from generation.engine.request import TIMEOUT


def advance(group: Group, logits: Sequence[Logits]) -> list[tuple[int, int]]:
    """Advance the beam search of a group by one token; report the result once the search has ended.

    Args:
        group: a group with a beam search.
        logits: one array of shape [vocabulary] for each sequence of the group.

    Returns:
        Pairs (source, target) of sequence numbers. The caller must copy the source's cache row to the target's.

    Raises:
        ValueError: the group has no beam search.
    """
    search = group.search
    if search is None:
        raise ValueError("the request does not search")
    parents = search.advance(logits)
    if search.done:
        conclude(group)
        return []
    for sequence, token in zip(group.sequences, search.last_tokens(), strict=True):
        sequence.last_token = token
    return [(parent, place) for place, parent in enumerate(parents) if parent != place]


def conclude(group: Group) -> None:
    """Report the best sequences of the group's search, if it has one; unfinished ones end with reason `TIMEOUT`."""
    if group.search is None:
        return
    for sequence, tokens in zip(group.sequences, group.search.best(), strict=True):
        for token in tokens:
            update = sequence.accept(token, None, {})
            if update is not None:
                group.mailbox.post(update)
        if sequence.finish_reason is None:
            group.mailbox.post(sequence.finish(TIMEOUT))


def report(group: Group) -> bool:
    """End the sequences of a request with the tokens generated so far; return False if there are none."""
    if not (group.generated or (group.search and group.search.steps)):
        return False
    conclude(group)
    group.end(TIMEOUT)
    return True
