"""DRY and XTC against the implementations of their author, and bad words against vLLM's.

The references are those of text-generation-webui (`modules/sampler_hijack.py`: `DRYLogitsProcessor`, `XTCLogitsWarper`)
and of vLLM (`v1/sample/ops/bad_words.py`), written down here without their surroundings.
"""

import numpy as np
import pytest
import torch

from generation.sampling.params import Dry
from generation.sampling.repetition import apply_dry
from generation.sampling.rules import apply_xtc, ruled_out
from generation.sampling.selection import Floats

VOCABULARY = 40


def _reference_dry(history: list[int], scores: Floats, rule: Dry) -> Floats:
    result = scores.copy()
    input_ids = history[-rule.window :]
    last_token = input_ids[-1]
    if last_token in rule.breakers:
        return result
    match_lengths: dict[int, int] = {}
    for i in (i for i in range(len(input_ids) - 1) if input_ids[i] == last_token):
        next_token = input_ids[i + 1]
        if next_token in rule.breakers:
            continue
        match_length = 1
        while match_length < 50:
            j = i - match_length
            if j < 0:
                break
            previous_token = input_ids[-(match_length + 1)]
            if input_ids[j] != previous_token or previous_token in rule.breakers:
                break
            match_length += 1
        match_lengths[next_token] = max(match_length, match_lengths.get(next_token, 0))
    for token, match_length in match_lengths.items():
        if match_length >= rule.allowed_length:
            result[token] -= rule.multiplier * rule.base ** (match_length - rule.allowed_length)
    return result


def _reference_xtc(scores: Floats, threshold: float) -> Floats:
    sorted_logits, sorted_indices = torch.sort(torch.from_numpy(scores.copy()), descending=True)
    probabilities = sorted_logits.softmax(dim=-1)
    remove = torch.full_like(probabilities, fill_value=False, dtype=torch.bool)
    remove[..., :-1] = probabilities[..., 1:] >= threshold
    removed: Floats = (
        torch.from_numpy(scores.copy()).masked_fill(remove.scatter(0, sorted_indices, remove), -torch.inf).numpy()
    )
    return removed


def _reference_bad_words(bad_words: list[list[int]], past: list[int]) -> set[int]:
    found = set()
    for word in bad_words:
        if len(word) > len(past) + 1:
            continue
        prefix_length = len(word) - 1
        actual = past[-prefix_length:] if prefix_length > 0 else []
        if actual == word[:prefix_length]:
            found.add(word[-1])
    return found


@pytest.mark.parametrize("seed", range(60))
def test_dry_is_that_of_its_author(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = (random.normal(size=VOCABULARY) * 3).astype(np.float32)
    # Few different tokens, so that there is much to repeat.
    history = random.integers(0, 2 + seed % 5, int(random.integers(1, 150))).tolist()
    rule = Dry(
        multiplier=float(random.uniform(0.1, 3)),
        base=float(random.uniform(1, 2)),
        allowed_length=int(random.integers(1, 5)),
        window=int(random.choice([1 << 20, 20])),
        breakers=frozenset(random.integers(0, 5, seed % 2).tolist()),
    )
    np.testing.assert_allclose(apply_dry(logits, history, rule), _reference_dry(history, logits, rule), rtol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 49, 50, 51, 52, 80])
def test_dry_counts_a_match_to_the_last_token_and_to_fifty(length: int) -> None:
    logits, rule = np.zeros(4, np.float32), Dry(multiplier=0.5, base=1.1, allowed_length=1)
    np.testing.assert_allclose(
        apply_dry(logits, [1] * length, rule), _reference_dry([1] * length, logits, rule), rtol=1e-6
    )


def test_dry_punishes_what_would_go_on_with_a_repetition() -> None:
    logits = np.zeros(9, np.float32)
    after = apply_dry(logits, [1, 2, 3, 7, 1, 2], Dry(multiplier=2.0, base=1.5, allowed_length=2))
    assert after.tolist() == [0, 0, 0, -2.0, 0, 0, 0, 0, 0]
    assert not logits.any()


def test_a_long_repetition_is_never_continued() -> None:
    after = apply_dry(np.zeros(4, np.float32), [1] * 1000, Dry(multiplier=100.0, base=10.0, allowed_length=1))
    assert after.tolist()[2:] == [0, 0]
    assert after[1] < -1e30


@pytest.mark.parametrize("threshold", [0.0, 0.02, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("seed", range(20))
def test_xtc_is_that_of_its_author(seed: int, threshold: float) -> None:
    logits = (np.random.default_rng(seed).normal(size=VOCABULARY) * 2).astype(np.float32)
    np.testing.assert_array_equal(apply_xtc(logits, threshold), _reference_xtc(logits, threshold))


def test_xtc_leaves_what_was_removed_before() -> None:
    logits = np.array([-np.inf, 2, 1, -np.inf], np.float32)
    assert apply_xtc(logits, 0.1).tolist() == [-np.inf, -np.inf, 1, -np.inf]


@pytest.mark.parametrize("seed", range(40))
def test_bad_words_are_those_of_vllm(seed: int) -> None:
    random = np.random.default_rng(seed)
    past = random.integers(0, 3, int(random.integers(0, 6))).tolist()
    words = [random.integers(0, 3, int(random.integers(1, 5))).tolist() for _ in range(6)]
    assert set(ruled_out(map(tuple, words), past)) == _reference_bad_words(words, past)
