"""Steps with drafts: fewer steps, the same answers."""

from collections.abc import Sequence as SequenceOf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from generation.engine.request import GenerationRequest
from generation.engine.speculation import Speculation
from generation.engine.stream import Mailbox
from tests.support.fakes import FakeModel, logits_after, reasons, request, texts
from tests.support.steps import Eager, add, make_core, oracle, run


class Parrot(FakeModel):
    """Its logits depend on the last two tokens only, so that greedy text soon goes round in circles."""

    def decode(self, ids: SequenceOf[SequenceOf[int]], lengths: SequenceOf[int]) -> NDArray[np.float32]:
        super().decode(ids, lengths)
        rows = []
        for row, (tokens, length) in enumerate(zip(ids, lengths, strict=True)):
            history = self.cache.history(row, length + len(tokens))
            rows += [logits_after(history[:end][-2:]) for end in range(length + 1, length + len(tokens) + 1)]
        return np.stack(rows)


GREEDY = {"do_sample": False, "ignore_eos": True}


def _parrot(speculation: Speculation | None, *asked: GenerationRequest) -> tuple[list[Mailbox], Parrot]:
    model = Parrot()
    core = make_core(model, speculation=speculation)
    boxes = [add(core, one) for one in asked]
    run(core)
    return boxes, model


def test_accepted_drafts_save_steps_and_change_nothing() -> None:
    asked = request("once", 300, **GREEDY)
    (plain,), slow = _parrot(None, asked)
    (drafted,), fast = _parrot(Eager(8, 4), asked)

    assert texts(list(drafted.items)) == texts(list(plain.items))
    assert reasons(list(drafted.items)) == {0: "length"}
    assert len(fast.batches) < len(slow.batches) / 2


@pytest.mark.parametrize("stop", ["e", "ab", "zq"])
def test_a_stop_string_ends_a_sequence_within_a_draft(stop: str) -> None:
    asked = request("once", 60, stop=(stop,), **GREEDY)
    (plain,), _ = _parrot(None, asked)
    (drafted,), _ = _parrot(Eager(8, 4), asked)

    assert texts(list(drafted.items)) == texts(list(plain.items))
    assert reasons(list(drafted.items)) == reasons(list(plain.items))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["abcabcab", "aaaa", "once"]), st.integers(1, 40), st.integers(0, 3), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_drafts_change_nothing_whatever_else_runs(mix: list[tuple[str, int, int, bool]]) -> None:
    asked = [request(prompt, tokens, seed=seed, do_sample=sampled) for prompt, tokens, seed, sampled in mix]
    core = make_core(FakeModel(), speculation=Eager(8, 4))
    boxes = [add(core, one) for one in asked]
    run(core)

    for one, box in zip(asked, boxes, strict=True):
        text, reason = oracle(one)
        assert texts(list(box.items)) == [text]
        assert reasons(list(box.items)) == {0: reason}
