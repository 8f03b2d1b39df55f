"""The beam search of a group: its sequences are the beams."""

from collections.abc import Sequence

from generation.engine.beam import Logits
from generation.engine.group import Group
from generation.engine.request import TIMEOUT


def advance(group: Group, logits: Sequence[Logits]) -> list[tuple[int, int]]:
    """Take the logits after each sequence of a group that searches; report the result if the search has ended.

    Returns:
        Pairs (source, target) of sequences by number: the cache of the target must become that of the source.
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
    """Report the best sequences of a search, if the group has one; those that have not ended end with `TIMEOUT`."""
    if group.search is None:
        return
    for sequence, tokens in zip(group.sequences, group.search.best(), strict=True):
        for token in tokens:
            update = sequence.accept(token, None, {})
            if update is not None:
                group.mailbox.post(update)
        if sequence.finish_reason is None:
            group.mailbox.post(sequence.finish(TIMEOUT))
