"""The step with guesses: fewer steps, the same answers."""

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
from tests.support.steps import Eager, add, make_runner, oracle, run


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
    runner = make_runner(model, speculation=speculation)
    boxes = [add(runner, one) for one in asked]
    run(runner)
    return boxes, model


def test_guesses_that_come_true_save_steps_and_change_nothing() -> None:
    asked = request("once", 300, **GREEDY)
    (plain,), slow = _parrot(None, asked)
    (guessed,), fast = _parrot(Eager(8, 4), asked)

    assert texts(list(guessed.items)) == texts(list(plain.items))
    assert reasons(list(guessed.items)) == {0: "length"}
    assert len(fast.batches) < len(slow.batches) / 2


@pytest.mark.parametrize("stop", ["e", "ab", "zq"])
def test_a_stop_string_ends_a_sequence_within_a_guess(stop: str) -> None:
    asked = request("once", 60, stop=(stop,), **GREEDY)
    (plain,), _ = _parrot(None, asked)
    (guessed,), _ = _parrot(Eager(8, 4), asked)

    assert texts(list(guessed.items)) == texts(list(plain.items))
    assert reasons(list(guessed.items)) == reasons(list(plain.items))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["abcabcab", "aaaa", "once"]), st.integers(1, 40), st.integers(0, 3), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_guesses_change_nothing_in_any_company(mix: list[tuple[str, int, int, bool]]) -> None:
    asked = [request(prompt, tokens, seed=seed, do_sample=sampled) for prompt, tokens, seed, sampled in mix]
    runner = make_runner(FakeModel(), speculation=Eager(8, 4))
    boxes = [add(runner, one) for one in asked]
    run(runner)

    for one, box in zip(asked, boxes, strict=True):
        text, reason = oracle(one)
        assert texts(list(box.items)) == [text]
        assert reasons(list(box.items)) == {0: reason}
