"""The step under random arrivals, cancellations, deadlines and failures."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from generation.engine.core import EngineCore
from generation.engine.prefix import PrefixCache
from generation.engine.request import GenerationRequest
from generation.engine.stream import Mailbox
from generation.errors import DeadlineError, GenerationFailedError
from tests.support.fakes import FakeModel, reasons, request, texts
from tests.support.steps import Eager, add, assert_clean, make_core, oracle, run, step

_requests = st.builds(
    request,
    prompt=st.text("abc", min_size=1, max_size=30),
    max_tokens=st.integers(0, 25),
    seed=st.integers(0, 3),
    choices=st.integers(1, 3),
    stop=st.sampled_from([(), ("e",), ("st", "er")]),
    do_sample=st.booleans(),
)


_HAPPENINGS = ["nothing", "cancel", "deadline", "fail prefill", "fail decode"]
_events = st.tuples(st.integers(0, 6), st.sampled_from(_HAPPENINGS))


def _assert_consistent(core: EngineCore) -> None:
    """What is counted is what is there, after any step."""
    scheduler, limits = core.scheduler, core.scheduler.limits
    assert len(set(scheduler.running)) == len(scheduler.running) <= scheduler.reserved_rows <= limits.rows
    assert set(scheduler.owner) == set(scheduler.running)
    assert all(sequence.finish_reason is None for sequence in scheduler.running)
    assert 0 <= scheduler.reserved_tokens <= limits.tokens
    assert scheduler.waiting_tokens == sum(len(group.request.prompt) for group in scheduler.waiting)
    rows = [group.staging for group in scheduler.prefilling]
    assert len(set(rows)) == len(rows) <= limits.staging


def _assert_right(asked: GenerationRequest, box: Mailbox, *, failing: bool, late: bool) -> None:
    """It ended once, for a reason that there was, with what it would have had alone or the beginning of it."""
    assert box.closed
    expected = [oracle(asked, index) for index in range(asked.choices)]
    got = texts(list(box.items), asked.choices)
    if late:
        # At the deadline what is held back is let go: half a character, and what could have become a stop string.
        endless = [oracle(replace(asked, stop=()), index)[0] for index in range(asked.choices)]
        assert all(text.startswith(part.rstrip("\ufffd")) for part, text in zip(got, endless, strict=True))
    else:
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
    arrivals: list[tuple[GenerationRequest, tuple[int, str]]], reuse: bool, draft: bool
) -> None:
    """Each request ends once, regardless of concurrent requests, and nothing is left behind."""
    model = FakeModel()
    core = make_core(
        model,
        tokens=250,
        prefix=PrefixCache(2000) if reuse else None,
        speculation=Eager(8, 4) if draft else None,
    )
    boxes, late, failing = [], set(), False
    for asked, (steps, happening) in arrivals:
        boxes.append((asked, add(core, asked)))
        model.fail_prefill, model.fail_decode = happening == "fail prefill", happening == "fail decode"
        failing = failing or model.fail_prefill or model.fail_decode
        one = boxes[steps % len(boxes)][1]
        if happening == "cancel":
            one.cancelled = True
        if happening == "deadline":
            late.add(id(one))
            for group in core.scheduler.groups():
                group.deadline = 0 if group.mailbox is one else group.deadline
        for _ in range(steps):
            step(core)
            _assert_consistent(core)
    model.fail_prefill = model.fail_decode = False
    run(core)
    assert_clean(core, model)
    for asked, box in boxes:
        _assert_right(asked, box, failing=failing, late=id(box) in late)
