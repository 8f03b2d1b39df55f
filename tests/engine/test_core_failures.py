"""What fails in a step ends only the requests that it concerns."""

import time

import numpy as np
import pytest

from generation.engine.stream import Bell, Mailbox
from generation.errors import GenerationFailedError, InvalidRequestError
from tests.support.fakes import FakeModel, reasons, request, texts
from tests.support.steps import add, assert_clean, make_core, make_group, oracle, run, step


def test_a_failing_step_ends_its_requests_and_the_next_one_works() -> None:
    model = FakeModel()
    core = make_core(model)
    box = add(core, request("ab", 500, ignore_eos=True))
    step(core)
    model.fail_decode = True
    step(core)
    assert isinstance(box.error, GenerationFailedError)
    assert_clean(core, model)
    model.fail_decode = False
    again = add(core, asked := request("ab", 5))
    run(core)
    assert texts(again.items) == [oracle(asked)[0]]


def test_a_failing_prefill_ends_only_its_own_request() -> None:
    model = FakeModel()
    core = make_core(model)
    healthy = add(core, asked := request("ab", 30, ignore_eos=True))
    step(core)
    model.fail_prefill = True
    broken = add(core, request("cd", 5))
    step(core)
    model.fail_prefill = False
    run(core)
    assert isinstance(broken.error, GenerationFailedError)
    assert texts(healthy.items) == [oracle(asked)[0]]
    assert_clean(core, model)


def test_a_prompt_that_cannot_be_computed_ends_none_of_those_computed_with_it() -> None:
    model = FakeModel()
    model.poison = ord("d")
    core = make_core(model)
    healthy, broken = add(core, asked := request("ab", 9)), add(core, request("cd", 9))
    run(core)
    assert isinstance(broken.error, GenerationFailedError)
    assert texts(healthy.items) == [oracle(asked)[0]]
    assert sum(core.telemetry.queue_s.counts) == 2, "each is counted once, whatever was tried again"
    assert_clean(core, model)


def test_a_row_that_cannot_be_moved_ends_only_its_own_request(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    core = make_core(model)
    asked = [request("ab", 3, ignore_eos=True), request("cd", 30, ignore_eos=True), request("ef", 30, ignore_eos=True)]
    boxes = [add(core, one) for one in asked]
    copy = model.cache.copy
    failed: list[int] = []

    def fail_once_within_the_batch(source: int, target: int, length: int) -> None:
        if source < 4 and not failed:
            failed.append(source)
            raise MemoryError
        copy(source, target, length)

    monkeypatch.setattr(model.cache, "copy", fail_once_within_the_batch)
    run(core)
    # The first to end leaves the first row, which the last one would have filled.
    assert [type(box.error) for box in boxes] == [type(None), type(None), GenerationFailedError]
    assert [texts(box.items) for box in boxes[:2]] == [[oracle(one)[0]] for one in asked[:2]]
    assert_clean(core, model)


def test_the_failure_of_one_prompt_leaves_the_others_of_its_request_alone() -> None:
    model = FakeModel()
    model.poison = ord("d")
    core = make_core(model)
    box = Mailbox(Bell(), requests=2)
    asked = [request("ab", 9, number=0), request("cd", 9, number=1)]
    core.scheduler.add([make_group(one, box, time.monotonic() + 1e6) for one in asked], 1)
    run(core)
    assert (box.closed, box.error) == (True, None)
    assert texts(box.items, 2) == [oracle(asked[0])[0], ""]
    assert reasons(box.items)[1] == "error"
    assert_clean(core, model)


class _BrokenGuide:
    def allowed(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.ones(257, np.bool_)

    def advance(self, token: int) -> None:
        raise RuntimeError(f"cannot take {token}")


def test_a_failing_guide_ends_only_its_own_request() -> None:
    model = FakeModel()
    core = make_core(model)
    healthy = add(core, asked := request("ab", 10, ignore_eos=True))
    broken = add(core, request("cd", 5, guide=_BrokenGuide))
    run(core)
    assert isinstance(broken.error, GenerationFailedError)
    assert texts(healthy.items) == [oracle(asked)[0]]
    assert_clean(core, model)


def test_what_a_guide_refuses_ends_its_request_with_that_error() -> None:
    class Refusing(_BrokenGuide):
        def advance(self, token: int) -> None:
            raise InvalidRequestError(f"cannot take {token}", param="guided_regex")

    model = FakeModel()
    core = make_core(model)
    box = add(core, request("cd", 5, guide=Refusing))
    run(core)
    assert isinstance(box.error, InvalidRequestError)
    assert_clean(core, model)


def test_a_token_that_cannot_be_chosen_ends_only_its_own_request(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    core = make_core(model)
    broken = add(core, request("cd", 50, ignore_eos=True))
    healthy = add(core, asked := request("ab", 10, ignore_eos=True))
    step(core)
    step(core)
    sequence = core.scheduler.running[0]

    def fail(*_: object) -> int:
        raise RuntimeError("no luck")

    monkeypatch.setattr(sequence._sampler, "choose", fail)
    run(core)
    assert isinstance(broken.error, GenerationFailedError)
    assert texts(healthy.items) == [oracle(asked)[0]]
    assert_clean(core, model)
