"""The sampler of one sequence. Its rules, one by one, are in test_sampling.py."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import (
    GenerationConfig,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from generation.errors import InvalidRequestError
from generation.sampling.params import SamplingParams
from generation.sampling.rules import log_softmax
from generation.sampling.sampler import NoTokenError, Sampler
from generation.sampling.selection import Floats

END = 7
GPT2 = 50257


def _logits(seed: int, size: int = 5000) -> Floats:
    return (np.random.default_rng(seed).normal(size=size) * 3).astype(np.float32)


def _sampler(index: int = 0, prompt: tuple[int, ...] = (1, 2), **params: Any) -> Sampler:
    return Sampler(SamplingParams(**({"seed": 5} | params)), index, prompt, [END])


def _tokens(sampler: Sampler, count: int = 20) -> list[int]:
    return [sampler.choose(_logits(step)) for step in range(count)]


@pytest.mark.parametrize("name", ["temperature", "top_k", "top_p", "typical_p", "repetition_penalty"])
def test_the_defaults_are_those_of_transformers(name: str) -> None:
    assert getattr(SamplingParams(), name) == getattr(GenerationConfig(), name)


def test_the_same_seed_and_index_give_the_same_tokens() -> None:
    assert _tokens(_sampler()) == _tokens(_sampler())
    assert _tokens(_sampler()) != _tokens(_sampler(index=1))
    assert _tokens(_sampler()) != _tokens(_sampler(seed=6))
    assert _tokens(_sampler(seed=None)) != _tokens(_sampler(seed=None))


@pytest.mark.parametrize("params", [{"do_sample": False}, {"temperature": 0.0}, {"top_k": 1}])
def test_greedy_takes_the_likeliest(params: dict[str, Any]) -> None:
    assert _tokens(_sampler(**params)) == [int(_logits(step).argmax()) for step in range(20)]


@pytest.mark.parametrize("params", [{"do_sample": False}, {"temperature": 0.0}])
def test_of_equals_greedy_takes_the_first(params: dict[str, Any]) -> None:
    sampler = _sampler(**params)
    assert {sampler.choose(np.array([1, 5, 5, 5], np.float32)) for _ in range(20)} == {1}


def test_all_bits_of_a_seed_count() -> None:
    assert _tokens(_sampler(seed=2**64 - 1)) != _tokens(_sampler(seed=2**32 - 1))


@pytest.mark.parametrize(
    ("params", "draws"),
    [
        ({}, 1),
        ({"top_k": 0, "typical_p": 0.5}, 1),
        ({"top_k": 1}, 1),
        ({"do_sample": False}, 0),
        ({"temperature": 0.0}, 0),
    ],
)
def test_a_sampled_token_takes_one_random_number(params: dict[str, Any], draws: int) -> None:
    sampler, fresh = _sampler(**params), _sampler()
    _tokens(sampler, 6)
    fresh._random.random(6 * draws)
    assert sampler._random.random() == fresh._random.random()


@pytest.mark.parametrize("params", [{}, {"top_k": 0}, {"top_k": 0, "top_p": 0.7, "typical_p": 0.8}])
def test_the_place_of_a_row_in_a_batch_makes_no_difference(params: dict[str, Any]) -> None:
    row, alone = _logits(2, GPT2), _sampler(**params)
    batch = np.stack([_logits(seed, GPT2) for seed in (1, 2, 3)])
    strided = np.asfortranarray(batch)
    tokens = [alone.choose(row) for _ in range(10)]
    for rows in (batch, strided):
        sampler = _sampler(**params)
        assert [sampler.choose(rows[1]) for _ in range(10)] == tokens


def test_the_logits_are_left_as_they_are() -> None:
    logits = _logits(1)
    logits.setflags(write=False)
    sampler = _sampler(repetition_penalty=2.0, presence_penalty=1.0, logit_bias={3: 1.0}, min_tokens=5, top_p=0.5)
    for _ in range(3):
        sampler.choose(logits)
    np.testing.assert_array_equal(logits, _logits(1))


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        ({"top_k": 5}, TopKLogitsWarper(5)),
        ({"top_p": 0.6}, TopPLogitsWarper(0.6)),
        ({"min_p": 0.2}, MinPLogitsWarper(0.2)),
        ({"typical_p": 0.2}, TypicalLogitsWarper(0.2)),
    ],
)
def test_each_rule_is_applied(params: dict[str, Any], rule: Any) -> None:
    """Of 300 draws all are from what the rule keeps: 60 % of the probability at most, so never by chance."""
    kept = np.flatnonzero(np.isfinite(rule(None, torch.from_numpy(_logits(9))[None])[0].numpy()))
    sampler = _sampler(**({"top_k": 0} | params))
    assert {sampler.choose(_logits(9)) for _ in range(300)} <= set(kept.tolist())


def test_the_repetition_penalty_is_for_the_prompt_and_for_what_was_generated() -> None:
    logits = np.array([1.0, 0.9, 0.8, 0.7], np.float32)
    sampler = _sampler(prompt=(1,), do_sample=False, repetition_penalty=2.0)
    assert [sampler.choose(logits) for _ in range(4)] == [0, 2, 3, 0]


def test_a_repetition_penalty_below_1_favours_what_was_seen() -> None:
    logits = np.array([1.0, 0.9, 0.8], np.float32)
    sampler = _sampler(prompt=(2,), do_sample=False, repetition_penalty=0.5)
    assert sampler.choose(logits) == 2


@pytest.mark.parametrize("params", [{"presence_penalty": -0.5}, {"frequency_penalty": -0.5}])
def test_a_negative_penalty_favours_what_was_generated(params: dict[str, Any]) -> None:
    sampler = _sampler(prompt=(), do_sample=False, **params)
    assert [sampler.choose(np.array(logits, np.float32)) for logits in ([1.0, 0.9], [0.9, 1.0])] == [0, 0]


def test_the_rules_apply_in_the_order_of_transformers() -> None:
    """Compare the distribution, by its effect on 3000 draws, with the processors applied one after the other.

    The seeds are fixed; with others, the total variation of so many draws over these few tokens would be above 0.05
    less than once in many thousands of times.
    """
    logits, prompt = _logits(9), (1, 2, 3, 4)
    scores = torch.from_numpy(logits.copy())[None]
    rules: tuple[Any, ...] = (
        RepetitionPenaltyLogitsProcessor(1.5),
        TemperatureLogitsWarper(1.7),
        TopKLogitsWarper(60),
        TopPLogitsWarper(0.9),
        MinPLogitsWarper(0.05),
        TypicalLogitsWarper(0.8),
    )
    for rule in rules:
        scores = rule(torch.tensor([prompt]), scores)
    expected = torch.softmax(scores[0], -1).numpy()
    chosen = np.zeros(len(logits))
    params: dict[str, Any] = {
        "repetition_penalty": 1.5,
        "temperature": 1.7,
        "top_k": 60,
        "top_p": 0.9,
        "min_p": 0.05,
        "typical_p": 0.8,
    }
    for index in range(3000):
        chosen[_sampler(index, prompt, **params).choose(logits)] += 1 / 3000
    assert set(np.flatnonzero(chosen)) <= set(np.flatnonzero(expected))
    assert np.abs(chosen - expected).sum() / 2 < 0.05


def test_sampling_everything_follows_the_distribution() -> None:
    """Chi-square over 8 tokens, 4000 draws: above 24.3 by chance once in a thousand seeds; this seed is fixed."""
    logits = np.array([0.0, 1, 2, 0.5, -1, 1.5, 0.2, 0.9], np.float32)
    sampler = Sampler(SamplingParams(seed=3, top_k=0), 0, (), [END])
    counts = np.bincount([sampler.choose(logits) for _ in range(4000)], minlength=8)
    expected = np.exp(log_softmax(logits)) * 4000
    assert ((counts - expected) ** 2 / expected).sum() < 24.3


def test_end_of_text_cannot_come_before_min_tokens() -> None:
    logits = np.zeros(10, np.float32)
    logits[END] = 50
    sampler = _sampler(min_tokens=3)
    tokens = [sampler.choose(logits) for _ in range(4)]
    assert END not in tokens[:3]
    assert tokens[3] == END


def test_penalties_count_what_was_generated_and_not_the_prompt() -> None:
    logits = np.array([1.0, 0.9, 0.8, 0], np.float32)
    sampler = _sampler(prompt=(0,), do_sample=False, presence_penalty=0.15)
    assert [sampler.choose(logits) for _ in range(4)] == [0, 1, 0, 0]
    sampler = _sampler(prompt=(), do_sample=False, frequency_penalty=0.15)
    assert [sampler.choose(logits) for _ in range(4)] == [0, 1, 0, 2]


def test_bias_moves_the_choice() -> None:
    assert _sampler(do_sample=False, logit_bias={4: 100.0}).choose(_logits(1)) == 4


def test_only_allowed_tokens_are_chosen() -> None:
    allowed = np.zeros(5000, np.bool_)
    allowed[[3, 8]] = True
    sampler = _sampler(top_k=0)
    assert {sampler.choose(_logits(step), allowed) for step in range(40)} == {3, 8}


def test_all_rules_work_within_what_is_allowed() -> None:
    logits = _logits(1, GPT2)
    allowed = np.zeros(GPT2, np.bool_)
    allowed[[9, 500, 50000]] = True
    strict = _sampler(top_k=1)
    assert strict.choose(logits, allowed) == [9, 500, 50000][int(logits[allowed].argmax())]
    greedy = _sampler(do_sample=False, logit_bias={500: 100.0})
    assert greedy.choose(logits, allowed) == 500


NONE, FIRST = np.zeros(10, np.bool_), np.arange(10) == 0


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
        _sampler(do_sample=do_sample).choose(np.array(logits, np.float32), allowed)
    # The request is at fault where the logits are sound.
    assert isinstance(caught.value, InvalidRequestError) == bool(np.isfinite(logits).all())


def test_end_of_text_too_early_as_the_only_one_allowed_is_no_token() -> None:
    with pytest.raises(InvalidRequestError, match="rule out all"):
        _sampler(min_tokens=1).choose(_logits(1, 10), np.arange(10) == END)


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
    sampler = _sampler(min_tokens=3, stop_token_ids=(2, 5), do_sample=False)
    logits = np.array([0, 1, 9, 2, 3, 8, 0, 7, 0], np.float32)  # END is 7
    assert [sampler.choose(logits) for _ in range(4)] == [4, 4, 4, 2]


def test_only_the_tokens_that_the_request_allows_are_chosen() -> None:
    sampler = _sampler(allowed_token_ids=(3, 99, 1000), top_k=0)
    assert set(_tokens(sampler, 60)) == {3, 99, 1000}
    guided = _sampler(allowed_token_ids=(3, 99))
    mask = np.zeros(5000, np.bool_)
    mask[[99, 100]] = True
    assert guided.choose(_logits(0), mask) == 99


def test_a_bad_word_of_one_token_is_never_chosen() -> None:
    best = int(_logits(0).argmax())
    assert _sampler(do_sample=False, bad_words=((best,),)).choose(_logits(0)) != best


def test_a_bad_word_of_several_tokens_cannot_be_completed() -> None:
    logits = np.array([0, 9, 5, 1], np.float32)
    sampler = _sampler(do_sample=False, bad_words=((1, 1, 1),), prompt=(1, 1))
    assert [sampler.choose(logits) for _ in range(6)] == [1, 1, 2, 1, 1, 2]  # the prompt does not count


def test_xtc_takes_a_random_number_for_whether_and_one_for_which() -> None:
    logits = np.array([3, 2.9, 0, -5], np.float32)
    tokens = [_sampler(xtc_probability=1.0, xtc_threshold=0.1, seed=seed).choose(logits) for seed in range(50)]
    assert 0 not in tokens
    assert 1 in tokens
    sampler, fresh = _sampler(xtc_probability=0.5), _sampler()
    _tokens(sampler, 6)
    fresh._random.random(12)
    assert sampler._random.random() == fresh._random.random()


@pytest.mark.parametrize("params", [{"do_sample": False}, {"temperature": 0.0}])
def test_greedy_takes_no_notice_of_xtc(params: dict[str, Any]) -> None:
    assert _tokens(_sampler(xtc_probability=1.0, **params), 5) == [int(_logits(step).argmax()) for step in range(5)]
