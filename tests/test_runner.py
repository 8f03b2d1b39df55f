"""The step, run by hand on a model of a few lines. An oracle computes every answer alone, from the same logits."""

import time
from collections.abc import Sequence as SequenceOf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from generation.errors import DeadlineError, GenerationFailedError
from generation.prefix import PrefixCache
from generation.runner import Runner
from generation.sampling import Sampler
from generation.scheduler import Group, Limits
from generation.sequence import Request, Sequence, Update, score
from generation.speculation import Drafter, Speculation
from generation.stream import Mailbox
from tests.fakes import END, ByteCodec, FakeModel, logits_after, mailbox, reasons, request, scores, texts


def _runner(
    model: FakeModel,
    *,
    chunk: int = 8,
    tokens: int = 4000,
    prefix: PrefixCache | None = None,
    speculation: Speculation | None = None,
) -> Runner:
    rows, staging = 4, 2
    return Runner(model, Limits(rows=rows, staging=staging, tokens=tokens, chunk=chunk), prefix, speculation)


def _add(runner: Runner, asked: Request, timeout_s: float = 1e6) -> Mailbox:
    box = mailbox()
    sequences = [Sequence(asked, index, ByteCodec()) for index in range(asked.choices)]
    runner.scheduler.add([Group(asked, sequences, box, time.monotonic() + timeout_s)], 1)
    return box


def _step(runner: Runner) -> None:
    runner.sweep_and_admit()
    runner.step()


def _run(runner: Runner, limit: int = 2000) -> None:
    for _ in range(limit):
        if not runner.scheduler.busy:
            return
        _step(runner)
    pytest.fail("the work never ended")


def _oracle(asked: Request, index: int = 0) -> tuple[str, str]:
    """Generate alone, token by token, with nothing but the sampler and the known logits."""
    sampler = Sampler(asked.sampling, index, asked.prompt, END)
    history, data = list(asked.prompt), b""
    for _ in range(asked.max_tokens):
        token = sampler.choose(logits_after(history))
        if token == END and not asked.sampling.ignore_eos:
            return data.decode(errors="replace"), "stop"
        history.append(token)
        data += ByteCodec().token_bytes(token)
        for stop in asked.stop:
            if stop.encode() in data:
                return data[: data.index(stop.encode())].decode(errors="replace"), "stop"
    return data.decode(errors="replace"), "length"


def _assert_clean(runner: Runner, model: FakeModel) -> None:
    scheduler = runner.scheduler
    assert not scheduler.busy
    assert (scheduler.reserved_rows, scheduler.reserved_tokens, scheduler.waiting_tokens) == (0, 0, 0)
    assert scheduler.owner == {}
    assert model.cache.rows == [None] * len(model.cache.rows), "a row was not released"


def test_one_request_gets_what_the_model_says() -> None:
    model = FakeModel()
    runner = _runner(model)
    asked = request("once upon", 20)
    box = _add(runner, asked)
    _run(runner)
    text, reason = _oracle(asked)
    assert texts(box.items) == [text]
    assert reasons(box.items) == {0: reason}
    assert box.closed
    assert box.error is None
    _assert_clean(runner, model)


def test_a_long_prompt_is_prefilled_in_chunks() -> None:
    model = FakeModel()
    runner = _runner(model, chunk=8)
    box = _add(runner, asked := request("x" * 21, 5))
    _run(runner)
    assert model.prefilled == [8, 8, 5]
    assert texts(box.items) == [_oracle(asked)[0]]


def test_a_running_sequence_gets_a_token_between_two_chunks_of_another() -> None:
    model = FakeModel()
    runner = _runner(model, chunk=8)
    box = _add(runner, request("go", 100, do_sample=False, ignore_eos=True))
    _step(runner)
    _add(runner, request("x" * 80, 1))
    for _ in range(10):
        before = len(model.batches)
        prefills = len(model.prefilled)
        _step(runner)
        assert len(model.batches) == before + 1
        assert len(model.prefilled) == prefills + 1
    assert not box.closed


def test_choices_share_one_prefill_and_differ() -> None:
    model = FakeModel()
    runner = _runner(model, chunk=64)
    box = _add(runner, asked := request("once upon a time", 30, choices=4))
    _run(runner)
    assert model.prefilled == [16]
    assert texts(box.items, 4) == [_oracle(asked, index)[0] for index in range(4)]
    assert len(set(texts(box.items, 4))) > 1


def test_choices_that_end_in_the_same_step_close_their_request_once() -> None:
    runner = _runner(FakeModel())
    asked = request("ab", 6, choices=2, do_sample=False, ignore_eos=True)
    box = Mailbox(lambda: None, requests=2)
    sequences = [Sequence(asked, index, ByteCodec()) for index in range(2)]
    runner.scheduler.add([Group(asked, sequences, box, time.monotonic() + 1e6)], 1)
    _run(runner)
    assert reasons(box.items) == {0: "length", 1: "length"}
    assert not box.closed, "the other request of this mailbox has not ended"


def test_a_stop_string_ends_a_sequence_and_is_left_out() -> None:
    text, _ = _oracle(request("once", 40, ignore_eos=True))
    stop = text[10:13]
    box = _add(runner := _runner(FakeModel()), request("once", 40, ignore_eos=True, stop=(stop,)))
    _run(runner)
    assert texts(box.items) == [text[: text.index(stop)]]
    assert reasons(box.items) == {0: "stop"}


def test_no_tokens_asked_for_ends_after_the_prompt() -> None:
    model = FakeModel()
    box = _add(runner := _runner(model), request("once", 0))
    _run(runner)
    assert (texts(box.items), reasons(box.items), model.batches) == ([""], {0: "length"}, [])
    _assert_clean(runner, model)


def test_scores_of_the_prompt_are_those_of_the_logits() -> None:
    asked = request("once upon a time", 1, logprobs=2, score_prompt=True)
    box = _add(runner := _runner(FakeModel(), chunk=5), asked)
    _run(runner)
    (report,) = scores(box.items)
    assert [token.id for token in report.tokens] == list(asked.prompt)
    assert report.tokens[0].logprob is None
    for place in range(1, len(asked.prompt)):
        expected = score(logits_after(asked.prompt[:place]), asked.prompt[place], 2)
        assert (report.tokens[place].logprob, report.tokens[place].alternatives) == expected


def test_a_known_beginning_is_not_computed_again_and_changes_nothing() -> None:
    model, plain = FakeModel(), FakeModel()
    with_cache, without = _runner(model, chunk=8, prefix=PrefixCache(1 << 20)), _runner(plain, chunk=8)
    for tail in ("first", "second", "second"):
        asked = request("a system text of some length; " + tail, 20)
        boxes = [_add(with_cache, asked), _add(without, asked)]
        _run(with_cache)
        _run(without)
        assert texts(boxes[0].items) == texts(boxes[1].items)
    assert sum(plain.prefilled) == 35 + 36 + 36
    assert sum(model.prefilled) == 35 + 12 + 4


def test_scoring_a_prompt_computes_all_of_it() -> None:
    model = FakeModel()
    runner = _runner(model, chunk=8, prefix=PrefixCache(1 << 20))
    for _ in range(2):
        box = _add(runner, request("x" * 20, 1, logprobs=0, score_prompt=True))
        _run(runner)
        assert len(scores(box.items)[0].tokens) == 20


def test_a_cancelled_request_leaves_at_the_next_step() -> None:
    model = FakeModel()
    runner = _runner(model)
    boxes = [_add(runner, request("ab", 500, ignore_eos=True)) for _ in range(3)]
    for _ in range(5):
        _step(runner)
    boxes[0].cancelled = True
    _step(runner)
    assert len(runner.scheduler.running) == 2
    assert model.batches[-1] == 2
    assert boxes[0].closed
    for box in boxes:
        box.cancelled = True
    _step(runner)
    _assert_clean(runner, model)


def test_a_request_cancelled_in_the_queue_is_never_computed() -> None:
    model = FakeModel()
    box = _add(runner := _runner(model), request("ab", 5))
    box.cancelled = True
    _run(runner)
    assert (model.prefilled, box.closed, box.error) == ([], True, None)
    _assert_clean(runner, model)


def test_a_request_cancelled_while_it_is_prefilled_frees_its_row() -> None:
    model = FakeModel()
    box = _add(runner := _runner(model, chunk=8), request("x" * 50, 5))
    _step(runner)
    box.cancelled = True
    _step(runner)
    _assert_clean(runner, model)


def test_at_its_deadline_a_request_ends_with_what_it_has() -> None:
    model = FakeModel()
    runner = _runner(model)
    asked = request("ab", 500, ignore_eos=True)
    box = _add(runner, asked)
    for _ in range(5):
        _step(runner)
    next(iter(runner.scheduler.groups())).deadline = 0
    _step(runner)
    assert reasons(box.items) == {0: "timeout"}
    assert 0 < len(texts(box.items)[0])
    assert _oracle(asked)[0].startswith(texts(box.items)[0])
    assert box.error is None
    _assert_clean(runner, model)


def test_a_request_that_has_nothing_at_its_deadline_ends_in_an_error() -> None:
    model = FakeModel()
    box = _add(runner := _runner(model), request("ab", 5), timeout_s=-1)
    _run(runner)
    assert isinstance(box.error, DeadlineError)
    _assert_clean(runner, model)


def test_a_failing_step_ends_its_requests_and_the_next_one_works() -> None:
    model = FakeModel()
    runner = _runner(model)
    box = _add(runner, request("ab", 500, ignore_eos=True))
    _step(runner)
    model.fail_decode = True
    _step(runner)
    assert isinstance(box.error, GenerationFailedError)
    _assert_clean(runner, model)
    model.fail_decode = False
    again = _add(runner, asked := request("ab", 5))
    _run(runner)
    assert texts(again.items) == [_oracle(asked)[0]]


def test_a_failing_prefill_ends_only_its_own_request() -> None:
    model = FakeModel()
    runner = _runner(model)
    healthy = _add(runner, asked := request("ab", 30, ignore_eos=True))
    _step(runner)
    model.fail_prefill = True
    broken = _add(runner, request("cd", 5))
    _step(runner)
    model.fail_prefill = False
    _run(runner)
    assert isinstance(broken.error, GenerationFailedError)
    assert texts(healthy.items) == [_oracle(asked)[0]]
    _assert_clean(runner, model)


class _BrokenGuide:
    def allowed(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.ones(257, np.bool_)

    def advance(self, token: int) -> None:
        raise RuntimeError(f"cannot take {token}")


def test_a_failing_guide_ends_only_its_own_request() -> None:
    model = FakeModel()
    runner = _runner(model)
    healthy = _add(runner, asked := request("ab", 10, ignore_eos=True))
    broken = _add(runner, request("cd", 5, guide=_BrokenGuide))
    _run(runner)
    assert isinstance(broken.error, GenerationFailedError)
    assert texts(healthy.items) == [_oracle(asked)[0]]
    _assert_clean(runner, model)


def test_updates_add_up_to_the_tokens_generated() -> None:
    box = _add(runner := _runner(FakeModel()), request("ab", 12, logprobs=0, ignore_eos=True))
    _run(runner)
    updates = [item for item in box.items if isinstance(item, Update)]
    assert updates[-1].generated == 12
    assert sum(len(update.tokens) for update in updates) == 12


_requests = st.builds(
    request,
    prompt=st.text("abc", min_size=1, max_size=30),
    max_tokens=st.integers(0, 25),
    seed=st.integers(0, 3),
    choices=st.integers(1, 3),
    stop=st.sampled_from([(), ("e",), ("st", "er")]),
    do_sample=st.booleans(),
)


class Eager(Speculation):
    """Guesses whenever it can, whether or not it pays."""

    def _pays(self, drafters: SequenceOf[Drafter], drafts: SequenceOf[list[int]]) -> bool:
        return True


_HAPPENINGS = ["nothing", "cancel", "deadline", "fail prefill", "fail decode"]
_events = st.tuples(st.integers(0, 6), st.sampled_from(_HAPPENINGS))


def _assert_consistent(runner: Runner) -> None:
    """What is counted is what is there, after any step."""
    scheduler, limits = runner.scheduler, runner.scheduler.limits
    assert len(set(scheduler.running)) == len(scheduler.running) <= scheduler.reserved_rows <= limits.rows
    assert set(scheduler.owner) == set(scheduler.running)
    assert all(sequence.finish_reason is None for sequence in scheduler.running)
    assert 0 <= scheduler.reserved_tokens <= limits.tokens
    assert scheduler.waiting_tokens == sum(len(group.request.prompt) for group in scheduler.waiting)
    rows = [group.staging for group in scheduler.prefilling]
    assert len(set(rows)) == len(rows) <= limits.staging


def _assert_right(asked: Request, box: Mailbox, *, failing: bool, late: bool) -> None:
    """It ended once, for a reason that there was, with what it would have had alone or the beginning of it."""
    assert box.closed
    expected = [_oracle(asked, index) for index in range(asked.choices)]
    got = texts(list(box.items), asked.choices)
    assert all(text.startswith(part) for part, (text, _) in zip(got, expected, strict=True))
    if box.error is not None:
        assert isinstance(box.error, (DeadlineError,) * late + (GenerationFailedError,) * failing)
    elif not box.cancelled:
        ends = reasons(list(box.items))
        for index, (text, reason) in enumerate(expected):
            assert (got[index], ends[index]) == (text, reason) or (late and ends[index] == "timeout")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_requests, _events), min_size=1, max_size=8), st.booleans(), st.booleans())
def test_any_mix_of_arrivals_cancellations_deadlines_and_failures(
    arrivals: list[tuple[Request, tuple[int, str]]], reuse: bool, guess: bool
) -> None:
    """Whatever the company, each ends once, and nothing is left behind."""
    model = FakeModel()
    runner = _runner(
        model,
        tokens=250,
        prefix=PrefixCache(2000) if reuse else None,
        speculation=Eager(8, 4) if guess else None,
    )
    boxes, late, failing = [], set(), False
    for asked, (steps, happening) in arrivals:
        boxes.append((asked, _add(runner, asked)))
        model.fail_prefill, model.fail_decode = happening == "fail prefill", happening == "fail decode"
        failing = failing or model.fail_prefill or model.fail_decode
        one = boxes[steps % len(boxes)][1]
        if happening == "cancel":
            one.cancelled = True
        if happening == "deadline":
            late.add(id(one))
            for group in runner.scheduler.groups():
                group.deadline = 0 if group.mailbox is one else group.deadline
        for _ in range(steps):
            _step(runner)
            _assert_consistent(runner)
    model.fail_prefill = model.fail_decode = False
    _run(runner)
    _assert_clean(runner, model)
    for asked, box in boxes:
        _assert_right(asked, box, failing=failing, late=id(box) in late)


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


def _parrot(speculation: Speculation | None, *asked: Request) -> tuple[list[Mailbox], Parrot]:
    model = Parrot()
    runner = _runner(model, speculation=speculation)
    boxes = [_add(runner, one) for one in asked]
    _run(runner)
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
    runner = _runner(FakeModel(), speculation=Eager(8, 4))
    boxes = [_add(runner, one) for one in asked]
    _run(runner)

    for one, box in zip(asked, boxes, strict=True):
        text, reason = _oracle(one)
        assert texts(list(box.items)) == [text]
        assert reasons(list(box.items)) == {0: reason}
