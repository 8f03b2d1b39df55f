"""Every rule against the logits processor of the same name in `transformers`."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from generation.sampling.rules import (
    apply_frequency_presence,
    apply_logit_bias,
    apply_min_p,
    apply_repetition_penalty,
    apply_temperature,
    apply_top_p,
    apply_typical_p,
    draw,
    log_softmax,
    top_k_candidates,
    top_k_ids,
    top_p_candidates,
)
from generation.sampling.selection import Floats

GPT2 = 50257
Rule = Callable[[Floats, float], Floats]


def _logits(seed: int, size: int = 5000, *, ties: bool = False) -> Floats:
    logits = (np.random.default_rng(seed).normal(size=size) * 3).astype(np.float32)
    return np.round(logits) if ties else logits


def _theirs(processor: Any, logits: Floats, seen: tuple[int, ...] = (0,)) -> Floats:
    scores = processor(torch.tensor([seen]), torch.from_numpy(logits.copy())[None])
    result: Floats = scores[0].numpy()
    return result


def _kept(logits: Floats) -> set[int]:
    return set(np.flatnonzero(np.isfinite(logits)).tolist())


@pytest.mark.parametrize("penalty", [0.5, 1.3, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_repetition_penalty(seed: int, penalty: float) -> None:
    seen = (3, 5, 999, 5)
    ours = apply_repetition_penalty(_logits(seed), np.array(sorted(set(seen))), penalty)
    np.testing.assert_array_equal(ours, _theirs(RepetitionPenaltyLogitsProcessor(penalty), _logits(seed), seen))


@pytest.mark.parametrize("temperature", [0.1, 0.7, 1.0, 2.0, 3.0])
def test_temperature(temperature: float) -> None:
    theirs = _theirs(TemperatureLogitsWarper(temperature), _logits(1))
    np.testing.assert_allclose(apply_temperature(_logits(1), temperature), theirs - theirs.max(), atol=1e-5)


@pytest.mark.parametrize("temperature", [1e-30, 1e-60, 5e-324])
def test_a_tiny_temperature_does_not_overflow(temperature: float) -> None:
    values = apply_temperature(_logits(1), temperature)
    assert not np.isnan(values).any()
    assert draw(values, 0.999) == _logits(1).argmax()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", [40, 5000, GPT2])
@pytest.mark.parametrize("k", [1, 2, 50, 4000])
def test_top_k(k: int, size: int, ties: bool) -> None:
    logits = _logits(k, size, ties=ties)
    kept = top_k_candidates(logits, k).tolist()
    assert set(kept) == _kept(_theirs(TopKLogitsWarper(k), logits))
    assert kept == sorted(kept)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("seed", range(5))
def test_top_p(seed: int, p: float) -> None:
    assert _kept(apply_top_p(_logits(seed), p)) == _kept(_theirs(TopPLogitsWarper(p), _logits(seed)))


@pytest.mark.parametrize("p", [0.0, 1e-9])
def test_top_p_keeps_at_least_one(p: float) -> None:
    logits = np.array([0, 9, 0], np.float32)
    assert _kept(apply_top_p(logits, p)) == _kept(_theirs(TopPLogitsWarper(p), logits)) == {1}


@pytest.mark.parametrize("p", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_min_p(seed: int, p: float) -> None:
    assert _kept(apply_min_p(_logits(seed), p)) == _kept(_theirs(MinPLogitsWarper(p), _logits(seed)))


@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("seed", range(5))
def test_typical_p(seed: int, p: float) -> None:
    assert _kept(apply_typical_p(_logits(seed), p)) == _kept(_theirs(TypicalLogitsWarper(p), _logits(seed)))


RULES = [(apply_top_p, TopPLogitsWarper), (apply_min_p, MinPLogitsWarper), (apply_typical_p, TypicalLogitsWarper)]


@pytest.mark.parametrize("p", [0.3, 0.9])
@pytest.mark.parametrize(("rule", "processor"), RULES)
def test_a_rule_on_the_whole_vocabulary(rule: Rule, processor: Any, p: float) -> None:
    """The sums of `transformers` are in single precision: that may decide on the token at the very edge."""
    logits = _logits(11, GPT2) / np.float32(2)
    theirs = _kept(_theirs(processor(p), logits))
    assert len(_kept(rule(logits, p)) ^ theirs) <= 1
    assert 0 < len(theirs) < GPT2


@pytest.mark.parametrize("p", [0.25, 0.5, 0.75])
@pytest.mark.parametrize(
    "logits",
    [
        [3.0],
        [1.0, 1.0, 1.0, 1.0],
        [-math.inf, 2.0, -math.inf],
        [-math.inf, 1.0, 1.0, -math.inf, 1.0, 1.0],
        [0.0, 4.0, 4.0, -200.0, -math.inf, 4.0],
    ],
)
@pytest.mark.parametrize(("rule", "processor"), RULES)
def test_a_rule_on_one_token_on_equals_and_on_what_is_ruled_out(
    rule: Rule, processor: Any, logits: list[float], p: float
) -> None:
    values = np.array(logits, np.float32)
    np.testing.assert_array_equal(rule(values, p), _theirs(processor(p), values))


@pytest.mark.parametrize("p", [0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("spread", [1, 3, 8])
def test_top_p_candidates_are_enough_and_few_where_few_matter(spread: int, p: float) -> None:
    logits = (np.random.default_rng(spread).normal(size=50257) * spread).astype(np.float32)
    logits -= logits.max()
    candidates, part = top_p_candidates(logits, p)
    kept = candidates[np.isfinite(apply_top_p(logits[candidates], part))]

    assert kept.tolist() == sorted(_kept(apply_top_p(logits, p)))
    weights = np.exp(logits.astype(np.float64))
    least = 0.5 * (1 - p) * weights.sum() / len(weights)
    assert weights[candidates].min() >= least * (1 - 1e-5)
    assert np.delete(weights, candidates).max(initial=0) < least * (1 + 1e-5)


@pytest.mark.parametrize("rule", [apply_top_p, apply_typical_p])
def test_a_rule_for_all_probability_removes_nothing(rule: Rule) -> None:
    logits = np.array([0, -50, 1], np.float32)  # the second is lost in a sum of the three
    np.testing.assert_array_equal(rule(logits, 1.0), logits)


@pytest.mark.parametrize("rule", [rule for rule, _ in RULES])
def test_a_rule_on_candidates_is_the_rule_on_all_with_the_others_at_minus_infinity(rule: Rule) -> None:
    logits = _logits(3)
    ids = top_k_candidates(logits, 50)
    masked = np.full_like(logits, -np.inf)
    masked[ids] = logits[ids]
    assert set(ids[list(_kept(rule(logits[ids], 0.4)))].tolist()) == _kept(rule(masked, 0.4))


def test_frequency_and_presence_follow_openai() -> None:
    logits = np.zeros(4, np.float32)
    result = apply_frequency_presence(logits, np.array([1, 3]), np.array([2, 1], np.float32), 0.5, 0.25)
    np.testing.assert_allclose(result, [0, -1.25, 0, -0.75])
    assert not logits.any()


def test_a_bias_is_added() -> None:
    logits = np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(apply_logit_bias(logits, {2: -100.0, 0: 0.5}), [1.5, 2, -97])
    np.testing.assert_array_equal(logits, [1, 2, 3])


@pytest.mark.parametrize("offset", [0, 1000, -1000])
def test_log_softmax_is_that_of_torch(offset: int) -> None:
    logits = _logits(2) + np.float32(offset)
    theirs = torch.log_softmax(torch.from_numpy(logits), -1).numpy()
    np.testing.assert_allclose(log_softmax(logits), theirs, atol=1e-5)


def test_the_largest_come_first_and_ties_go_by_id() -> None:
    assert top_k_ids(np.array([1, 3, 2, 3], np.float32), 3).tolist() == [1, 3, 2]
    ties = _logits(5, GPT2, ties=True)
    assert top_k_ids(ties, 9).tolist() == np.argsort(-ties, kind="stable")[:9].tolist()


def test_draw_is_the_inverse_of_the_distribution() -> None:
    logits = np.log(np.array([0.1, 0.2, 0.0001, 0.6999], np.float32))
    assert [draw(logits, u) for u in (0.0, 0.0999, 0.1001, 0.2999, 0.31, 0.9999999)] == [0, 0, 1, 1, 3, 3]


def test_draw_depends_on_differences_alone() -> None:
    logits = np.array([0, 1, 2], np.float32)
    for offset in (-1000, 1000):
        assert [draw(logits + np.float32(offset), u) for u in (0.05, 0.2, 0.5)] == [0, 1, 2]


def test_draw_on_a_whole_vocabulary_is_the_inverse_of_the_distribution() -> None:
    logits = _logits(4, GPT2)
    cumulative = np.cumsum(np.exp(logits.astype(np.float64)))
    for uniform in np.linspace(0, 0.9999, 101):
        token = draw(logits, float(uniform))
        # Weights are in single precision, so near an edge the neighbour may be taken.
        before, after = cumulative[token - 1] if token else 0, cumulative[token]
        assert before / cumulative[-1] - 1e-6 <= uniform <= after / cumulative[-1] + 1e-6


def test_draw_never_takes_what_was_removed() -> None:
    logits = np.array([-np.inf, 0, -np.inf, 0, -np.inf], np.float32)
    assert {draw(logits, u) for u in (0.0, 0.3, 0.5, 0.7, 1 - 2**-53)} == {1, 3}
