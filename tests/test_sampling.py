"""Every rule against the logits processor of the same name in `transformers`, and the sampler as a whole."""

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

from generation.sampling import (
    Floats,
    Sampler,
    SamplingParams,
    apply_frequency_presence,
    apply_min_p,
    apply_repetition_penalty,
    apply_temperature,
    apply_top_p,
    apply_typical_p,
    draw,
    log_softmax,
    softmax,
    top_k_candidates,
    top_k_ids,
)

END = 7


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


@pytest.mark.parametrize("temperature", [0.1, 0.7, 1.0, 3.0])
def test_temperature(temperature: float) -> None:
    theirs = _theirs(TemperatureLogitsWarper(temperature), _logits(1))
    np.testing.assert_allclose(apply_temperature(_logits(1), temperature), theirs - theirs.max(), atol=1e-5)


def test_a_tiny_temperature_does_not_overflow() -> None:
    values = apply_temperature(_logits(1), 1e-30)
    assert not np.isnan(values).any()
    assert draw(values, 0.999) == _logits(1).argmax()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", [40, 5000, 50257])
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


def test_top_p_keeps_at_least_one() -> None:
    assert _kept(apply_top_p(np.array([0, 9, 0], np.float32), 1e-9)) == {1}


@pytest.mark.parametrize("p", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_min_p(seed: int, p: float) -> None:
    assert _kept(apply_min_p(_logits(seed), p)) == _kept(_theirs(MinPLogitsWarper(p), _logits(seed)))


@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("seed", range(5))
def test_typical_p(seed: int, p: float) -> None:
    assert _kept(apply_typical_p(_logits(seed), p)) == _kept(_theirs(TypicalLogitsWarper(p), _logits(seed)))


@pytest.mark.parametrize("rule", [apply_top_p, apply_min_p, apply_typical_p])
def test_a_rule_on_candidates_is_the_rule_on_all_with_the_others_at_minus_infinity(rule: object) -> None:
    logits = _logits(3)
    ids = top_k_candidates(logits, 50)
    masked = np.full_like(logits, -np.inf)
    masked[ids] = logits[ids]
    assert callable(rule)
    assert set(ids[list(_kept(rule(logits[ids], 0.4)))].tolist()) == _kept(rule(masked, 0.4))


def test_frequency_and_presence_follow_openai() -> None:
    logits = np.zeros(4, np.float32)
    result = apply_frequency_presence(logits, np.array([1, 3]), np.array([2, 1], np.float32), 0.5, 0.25)
    np.testing.assert_allclose(result, [0, -1.25, 0, -0.75])
    assert not logits.any()


def test_log_softmax_is_that_of_torch() -> None:
    theirs = torch.log_softmax(torch.from_numpy(_logits(2)), -1).numpy()
    np.testing.assert_allclose(log_softmax(_logits(2)), theirs, atol=1e-5)


def test_the_largest_come_first_and_ties_go_by_id() -> None:
    assert top_k_ids(np.array([1, 3, 2, 3], np.float32), 3).tolist() == [1, 3, 2]
    ties = _logits(5, 50257, ties=True)
    assert top_k_ids(ties, 9).tolist() == np.argsort(-ties, kind="stable")[:9].tolist()


def test_draw_is_the_inverse_of_the_distribution() -> None:
    logits = np.log(np.array([0.1, 0.2, 0.0001, 0.6999], np.float32))
    assert [draw(logits, u) for u in (0.0, 0.0999, 0.1001, 0.2999, 0.31, 0.9999999)] == [0, 0, 1, 1, 3, 3]


def test_draw_never_takes_what_was_removed() -> None:
    logits = np.array([-np.inf, 0, -np.inf, 0, -np.inf], np.float32)
    assert {draw(logits, u) for u in (0.0, 0.3, 0.5, 0.7, 1 - 2**-53)} == {1, 3}


def _sampler(index: int = 0, prompt: tuple[int, ...] = (1, 2), **params: Any) -> Sampler:
    return Sampler(SamplingParams(**({"seed": 5} | params)), index, prompt, END)


def _tokens(sampler: Sampler, count: int = 20) -> list[int]:
    return [sampler.choose(_logits(step)) for step in range(count)]


def test_the_same_seed_and_index_give_the_same_tokens() -> None:
    assert _tokens(_sampler()) == _tokens(_sampler())
    assert _tokens(_sampler()) != _tokens(_sampler(index=1))
    assert _tokens(_sampler()) != _tokens(_sampler(seed=6))
    assert _tokens(_sampler(seed=None)) != _tokens(_sampler(seed=None))


@pytest.mark.parametrize("params", [{"do_sample": False}, {"temperature": 0.0}, {"top_k": 1}])
def test_greedy_takes_the_likeliest(params: dict[str, Any]) -> None:
    assert _tokens(_sampler(**params)) == [int(_logits(step).argmax()) for step in range(20)]


def test_the_logits_are_left_as_they_are() -> None:
    logits = _logits(1)
    sampler = _sampler(repetition_penalty=2.0, presence_penalty=1.0, logit_bias={3: 1.0}, min_tokens=5, top_p=0.5)
    for _ in range(3):
        sampler.choose(logits)
    np.testing.assert_array_equal(logits, _logits(1))


def test_the_rules_apply_in_the_order_of_transformers() -> None:
    """Compare the distribution, by its effect on a sweep of draws, with the processors applied one after the other."""
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
    # Total variation of 3000 draws over these few tokens: far above 0.05 only once in many thousands of seeds.
    assert np.abs(chosen - expected).sum() / 2 < 0.05


def test_sampling_everything_follows_the_distribution() -> None:
    """Chi-square over 8 tokens, 4000 draws: above 24.3 by chance once in a thousand seeds; this seed is fixed."""
    logits = np.array([0.0, 1, 2, 0.5, -1, 1.5, 0.2, 0.9], np.float32)
    sampler = Sampler(SamplingParams(seed=3, top_k=0), 0, (), END)
    counts = np.bincount([sampler.choose(logits) for _ in range(4000)], minlength=8)
    expected = softmax(logits) * 4000
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
