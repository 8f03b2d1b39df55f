"""Tokens that a sampler must not choose: early ends, bad words, holes, and tokens that a guide or request excludes."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from generation.errors import InvalidRequestError
from generation.sampling.params import SamplingParams
from generation.sampling.sampler import NoTokenError, Sampler
from tests.support.sampling import END, GPT2, logits_of, new_sampler, sample

NONE, FIRST = np.zeros(10, np.bool_), np.arange(10) == 0


def test_end_of_text_cannot_come_before_min_tokens() -> None:
    logits = np.zeros(10, np.float32)
    logits[END] = 50
    sampler = new_sampler(min_tokens=3)
    tokens = [sampler.choose(logits) for _ in range(4)]
    assert END not in tokens[:3]
    assert tokens[3] == END


def test_only_allowed_tokens_are_chosen() -> None:
    allowed = np.zeros(5000, np.bool_)
    allowed[[3, 8]] = True
    sampler = new_sampler(top_k=0)
    assert {sampler.choose(logits_of(step), allowed) for step in range(40)} == {3, 8}


def test_all_rules_work_within_what_is_allowed() -> None:
    logits = logits_of(1, GPT2)
    allowed = np.zeros(GPT2, np.bool_)
    allowed[[9, 500, 50000]] = True
    strict = new_sampler(top_k=1)
    assert strict.choose(logits, allowed) == [9, 500, 50000][int(logits[allowed].argmax())]
    greedy = new_sampler(do_sample=False, logit_bias={500: 100.0})
    assert greedy.choose(logits, allowed) == 500


@pytest.mark.parametrize("do_sample", [True, False])
@pytest.mark.parametrize(
    ("logits", "allowed"),
    [
        ([1.0] * 10, NONE),
        ([-math.inf] + [1.0] * 9, FIRST),
        ([-math.inf] * 10, None),
        ([1.0, math.nan] + [1.0] * 8, None),
        ([1.0, math.inf] + [1.0] * 8, None),
    ],
    ids=["nothing allowed", "only the impossible allowed", "nothing possible", "NaN", "infinity"],
)
def test_where_no_token_can_be_chosen_it_says_so(
    logits: list[float], allowed: NDArray[np.bool_] | None, *, do_sample: bool
) -> None:
    with pytest.raises((NoTokenError, InvalidRequestError), match="no token") as caught:
        new_sampler(do_sample=do_sample).choose(np.array(logits, np.float32), allowed)
    # With valid logits, the request is the cause of the error.
    assert isinstance(caught.value, InvalidRequestError) == bool(np.isfinite(logits).all())


def test_end_of_text_too_early_as_the_only_one_allowed_is_no_token() -> None:
    with pytest.raises(InvalidRequestError, match="rule out all"):
        new_sampler(min_tokens=1).choose(logits_of(1, 10), np.arange(10) == END)


def test_no_end_of_text_can_come_before_min_tokens() -> None:
    sampler = Sampler(SamplingParams(do_sample=False, min_tokens=1), 0, (), [2, 3])
    logits = np.array([0, 1, 3, 2], np.float32)
    assert [sampler.choose(logits), sampler.choose(logits)] == [1, 2]


@pytest.mark.parametrize(
    "params", [{"do_sample": False}, {"seed": 1, "top_k": 0}, {"seed": 1, "logit_bias": {3: 100.0}}]
)
def test_an_id_that_is_no_token_is_never_chosen(params: dict[str, Any]) -> None:
    sampler = Sampler(SamplingParams(**params), 0, (), [], holes=[1, 3])
    assert {sampler.choose(np.array([1, 50, 2, 60], np.float32)) for _ in range(20)} <= {0, 2}


def test_before_so_many_tokens_nothing_that_ends_a_sequence_is_chosen() -> None:
    sampler = new_sampler(min_tokens=3, stop_token_ids=(2, 5), do_sample=False)
    logits = np.array([0, 1, 9, 2, 3, 8, 0, 7, 0], np.float32)  # END is 7
    assert [sampler.choose(logits) for _ in range(4)] == [4, 4, 4, 2]


def test_only_the_tokens_that_the_request_allows_are_chosen() -> None:
    sampler = new_sampler(allowed_token_ids=(3, 99, 1000), top_k=0)
    assert set(sample(sampler, 60)) == {3, 99, 1000}
    guided = new_sampler(allowed_token_ids=(3, 99))
    mask = np.zeros(5000, np.bool_)
    mask[[99, 100]] = True
    assert guided.choose(logits_of(0), mask) == 99


def test_a_bad_word_of_one_token_is_never_chosen() -> None:
    best = int(logits_of(0).argmax())
    assert new_sampler(do_sample=False, bad_words=((best,),)).choose(logits_of(0)) != best


def test_a_bad_word_of_several_tokens_cannot_be_completed() -> None:
    logits = np.array([0, 9, 5, 1], np.float32)
    sampler = new_sampler(do_sample=False, bad_words=((1, 1, 1),), prompt=(1, 1))
    assert [sampler.choose(logits) for _ in range(6)] == [1, 1, 2, 1, 1, 2]  # the prompt does not count
