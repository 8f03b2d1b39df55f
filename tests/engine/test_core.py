"""The step, run by hand on a model of a few lines."""

import time

from generation.engine.prefix import PrefixCache
from generation.engine.request import Update
from generation.engine.sequence import score
from generation.engine.stream import Bell, Mailbox
from generation.errors import DeadlineError
from tests.support.fakes import FakeModel, logits_after, reasons, request, scores, texts
from tests.support.steps import add, assert_clean, make_core, make_group, oracle, run, step


def test_one_request_gets_what_the_model_says() -> None:
    model = FakeModel()
    core = make_core(model)
    asked = request("once upon", 20)
    box = add(core, asked)
    run(core)
    text, reason = oracle(asked)
    assert texts(box.items) == [text]
    assert reasons(box.items) == {0: reason}
    assert box.closed
    assert box.error is None
    assert_clean(core, model)


def test_a_long_prompt_is_prefilled_in_chunks() -> None:
    model = FakeModel()
    core = make_core(model, chunk=8)
    box = add(core, asked := request("x" * 21, 5))
    run(core)
    assert model.prefilled == [8, 8, 5]
    assert texts(box.items) == [oracle(asked)[0]]


def test_a_running_sequence_gets_a_token_between_two_chunks_of_another() -> None:
    model = FakeModel()
    core = make_core(model, chunk=8)
    box = add(core, request("go", 100, do_sample=False, ignore_eos=True))
    step(core)
    add(core, request("x" * 80, 1))
    for _ in range(10):
        before = len(model.batches)
        prefills = len(model.prefilled)
        step(core)
        assert len(model.batches) == before + 1
        assert len(model.prefilled) == prefills + 1
    assert not box.closed


def test_short_prompts_are_computed_in_one_run_of_the_model() -> None:
    model = FakeModel()
    core = make_core(model, chunk=8)
    asked = [request("abc", 5), request("de", 5)]
    boxes = [add(core, one) for one in asked]
    run(core)
    assert model.prefilled == [5]
    assert [texts(box.items) for box in boxes] == [[oracle(one)[0]] for one in asked]


def test_choices_share_one_prefill_and_differ() -> None:
    model = FakeModel()
    core = make_core(model, chunk=64)
    box = add(core, asked := request("once upon a time", 30, choices=4))
    run(core)
    assert model.prefilled == [16]
    assert texts(box.items, 4) == [oracle(asked, index)[0] for index in range(4)]
    assert len(set(texts(box.items, 4))) > 1


def test_choices_that_end_in_the_same_step_close_their_request_once() -> None:
    core = make_core(FakeModel())
    asked = request("ab", 6, choices=2, do_sample=False, ignore_eos=True)
    box = Mailbox(Bell(), requests=2)
    core.scheduler.add([make_group(asked, box, time.monotonic() + 1e6)], 1)
    run(core)
    assert reasons(box.items) == {0: "length", 1: "length"}
    assert not box.closed, "the other request of this mailbox has not ended"


def test_a_stop_string_ends_a_sequence_and_is_left_out() -> None:
    text, _ = oracle(request("once", 40, ignore_eos=True))
    stop = text[10:13]
    box = add(core := make_core(FakeModel()), request("once", 40, ignore_eos=True, stop=(stop,)))
    run(core)
    assert texts(box.items) == [text[: text.index(stop)]]
    assert reasons(box.items) == {0: "stop"}


def test_no_tokens_asked_for_ends_after_the_prompt() -> None:
    model = FakeModel()
    box = add(core := make_core(model), request("once", 0))
    run(core)
    assert (texts(box.items), reasons(box.items), model.batches) == ([""], {0: "length"}, [])
    assert_clean(core, model)


def test_scores_of_the_prompt_are_those_of_the_logits() -> None:
    asked = request("once upon a time", 1, logprobs=2, score_prompt=True, prompt_logprobs=2)
    box = add(core := make_core(FakeModel(), chunk=5), asked)
    run(core)
    (report,) = scores(box.items)
    assert [token.id for token in report.tokens] == list(asked.prompt)
    assert report.tokens[0].logprob is None
    for place in range(1, len(asked.prompt)):
        expected = score(logits_after(asked.prompt[:place]), asked.prompt[place], 2)
        found = report.tokens[place]
        assert (found.logprob, found.alternatives, found.rank) == expected


def test_a_known_beginning_is_not_computed_again_and_changes_nothing() -> None:
    model, plain = FakeModel(), FakeModel()
    with_cache, without = make_core(model, chunk=8, prefix=PrefixCache(1 << 20)), make_core(plain, chunk=8)
    for tail in ("first", "second", "second"):
        asked = request("a system text of some length; " + tail, 20)
        boxes = [add(with_cache, asked), add(without, asked)]
        run(with_cache)
        run(without)
        assert texts(boxes[0].items) == texts(boxes[1].items)
    assert sum(plain.prefilled) == 35 + 36 + 36
    assert sum(model.prefilled) == 35 + 12 + 4


def test_scoring_a_prompt_computes_all_of_it() -> None:
    model = FakeModel()
    core = make_core(model, chunk=8, prefix=PrefixCache(1 << 20))
    for _ in range(2):
        box = add(core, request("x" * 20, 1, logprobs=0, score_prompt=True))
        run(core)
        assert len(scores(box.items)[0].tokens) == 20


def test_a_cancelled_request_leaves_at_the_next_step() -> None:
    model = FakeModel()
    core = make_core(model)
    boxes = [add(core, request("ab", 500, ignore_eos=True)) for _ in range(3)]
    for _ in range(5):
        step(core)
    boxes[0].cancelled = True
    step(core)
    assert len(core.scheduler.running) == 2
    assert model.batches[-1] == 2
    assert boxes[0].closed
    for box in boxes:
        box.cancelled = True
    step(core)
    assert_clean(core, model)


def test_a_request_cancelled_in_the_queue_is_never_computed() -> None:
    model = FakeModel()
    box = add(core := make_core(model), request("ab", 5))
    box.cancelled = True
    run(core)
    assert (model.prefilled, box.closed, box.error) == ([], True, None)
    assert_clean(core, model)


def test_a_request_cancelled_while_it_is_prefilled_frees_its_row() -> None:
    model = FakeModel()
    box = add(core := make_core(model, chunk=8), request("x" * 50, 5))
    step(core)
    box.cancelled = True
    step(core)
    assert_clean(core, model)


def test_at_its_deadline_a_request_ends_with_what_it_has() -> None:
    model = FakeModel()
    core = make_core(model)
    asked = request("ab", 500, ignore_eos=True)
    box = add(core, asked)
    for _ in range(5):
        step(core)
    next(iter(core.scheduler.groups())).deadline = 0
    step(core)
    assert reasons(box.items) == {0: "timeout"}
    assert 0 < len(texts(box.items)[0])
    assert oracle(asked)[0].startswith(texts(box.items)[0])
    assert box.error is None
    assert_clean(core, model)


def test_a_request_that_has_nothing_at_its_deadline_ends_in_an_error() -> None:
    model = FakeModel()
    box = add(core := make_core(model), request("ab", 5), timeout_s=-1)
    run(core)
    assert isinstance(box.error, DeadlineError)
    assert_clean(core, model)


def test_updates_add_up_to_the_tokens_generated() -> None:
    box = add(core := make_core(FakeModel()), request("ab", 12, logprobs=0, ignore_eos=True))
    run(core)
    updates = [item for item in box.items if isinstance(item, Update)]
    assert updates[-1].generated == 12
    assert sum(len(update.tokens) for update in updates) == 12
