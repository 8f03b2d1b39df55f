"""Sampling rows together gives the same tokens as each sampler by itself."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.sampling.params import SamplingParams
from generation.sampling.sampler import NoTokenError, Sampler
from generation.sampling.selection import BLOCK, FOLD_OF_ROWS, Floats, largest_of_rows
from generation.sampling.together import choose_together

VOCABULARY = 2 * FOLD_OF_ROWS * 9 + 5
END = 7
# Each is a rule that depends on particular tokens, or that applies only to rows sampled by themselves.
OTHERS: list[dict[str, Any]] = [
    {"do_sample": False},
    {"temperature": 0.0},
    {"top_k": 0},
    {"top_p": 0.9},
    {"typical_p": 0.9},
    {"repetition_penalty": 1.2},
    {"frequency_penalty": 0.5},
    {"presence_penalty": 0.5},
    {"logit_bias": {3: 1.0}},
    {"bad_words": ((3,),)},
    {"allowed_token_ids": (1, 2, 3)},
    {"xtc_probability": 0.5},
    {"min_tokens": 1},
]


def _logits(seed: int, rows: int, steps: float = 0) -> Floats:
    """Return random logits; with `steps`, many of them are equal."""
    values = np.random.default_rng(seed).normal(0, 3, (rows, VOCABULARY)).astype(np.float32)
    return np.round(values / np.float32(steps)) * np.float32(steps) if steps else values


def _samplers(count: int, seed: int = 5, **params: Any) -> list[Sampler]:
    asked = SamplingParams(**({"seed": seed, "top_k": 9} | params))
    return [Sampler(asked, index, (1, 2), [END]) for index in range(count)]


@given(
    seed=st.integers(0, 1 << 32),
    steps=st.sampled_from([0, 0.5, 3]),
    params=st.fixed_dictionaries(
        {
            "top_k": st.integers(1, 20),
            "temperature": st.sampled_from([0.01, 0.7, 1.0, 1.5]),
            "min_p": st.sampled_from([0.0, 0.1, 1.0]),
        }
    ),
)
def test_the_tokens_are_those_that_each_sampler_chooses_by_itself(
    seed: int, steps: float, params: dict[str, Any]
) -> None:
    together, alone = _samplers(4, seed, **params), _samplers(4, seed, **params)
    for step in range(3):
        logits = _logits(seed + step, 4, steps)
        wanted = [sampler.choose(row) for sampler, row in zip(alone, logits, strict=True)]
        found = choose_together(logits, together)
        # A row with too many equal logits is sampled by itself, with an unchanged random state.
        rows = zip(found, together, logits, strict=True)
        assert [sampler.choose(row) if token is None else token for token, sampler, row in rows] == wanted


def test_rows_are_chosen_together_whatever_is_beside_them() -> None:
    logits = _logits(3, 5)
    alone = [sampler.choose(row) for sampler, row in zip(_samplers(5), logits, strict=True)]
    mixed: list[Sampler | None] = [*_samplers(5)]
    mixed[2] = None
    assert choose_together(logits, mixed) == [*alone[:2], None, *alone[3:]]
    mixed = [*_samplers(5)]
    mixed[4] = _samplers(1, temperature=0.5)[0]
    assert choose_together(logits, mixed) == [*alone[:4], None]


@pytest.mark.parametrize("params", OTHERS, ids=lambda params: next(iter(params)))
def test_rows_with_other_rules_are_left_to_their_samplers(params: dict[str, Any]) -> None:
    assert choose_together(_logits(4, 2), _samplers(2, **params)) == [None, None]


def test_rows_of_a_vocabulary_with_holes_are_left_to_their_samplers() -> None:
    samplers = [Sampler(SamplingParams(seed=1, top_k=9), index, (1,), [END], [3]) for index in range(2)]
    assert choose_together(_logits(4, 2), samplers) == [None, None]


def test_a_row_takes_part_from_its_least_number_of_tokens_on() -> None:
    samplers = _samplers(2, min_tokens=1)
    for sampler in samplers:
        sampler.record(3)
    assert None not in choose_together(_logits(4, 2), samplers)


def test_a_token_counts_for_the_penalties_of_later_ones() -> None:
    logits = np.zeros((2, VOCABULARY), np.float32)
    logits[:, 11] = 100
    samplers = _samplers(2, top_k=3)
    logits[:, :3] = 1
    assert choose_together(logits, samplers) == [11, 11]
    assert [sampler._generated for sampler in samplers] == [[11], [11]]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 100, VOCABULARY - 1])
def test_a_row_without_finite_logits_is_left_to_its_sampler(wrong: float, place: int) -> None:
    logits = _logits(6, 3)
    logits[1, place] = wrong
    samplers = _samplers(3)
    tokens = choose_together(logits, samplers)
    assert [token is None for token in tokens] == [False, True, False]
    with pytest.raises(NoTokenError):
        samplers[1].choose(logits[1])


def test_a_row_with_few_finite_logits_is_left_to_its_sampler() -> None:
    logits = _logits(6, 3)
    logits[2, 5:] = -np.inf
    assert [token is None for token in choose_together(logits, _samplers(3))] == [False, False, True]


def test_rows_of_many_equals_are_left_to_their_samplers() -> None:
    logits = np.zeros((3, VOCABULARY), np.float32)
    assert VOCABULARY > BLOCK
    assert choose_together(logits, _samplers(3)) == [None] * 3
    logits[1] = _logits(6, 1)
    assert [token is None for token in choose_together(logits, _samplers(3))] == [True, False, True]


@given(st.integers(0, 1 << 32), st.integers(1, 40), st.sampled_from([0, 0.5, 3]))
def test_the_largest_of_rows_and_their_ties_are_among_the_candidates(seed: int, k: int, steps: float) -> None:
    logits = _logits(seed, 3, steps)
    rows, ids = largest_of_rows(logits, k)
    if k >= VOCABULARY // FOLD_OF_ROWS:
        assert not len(rows)
        return
    least = np.sort(logits, axis=1)[:, [-k]]
    found = np.zeros(logits.shape, np.bool_)
    found[rows, ids] = True
    assert found[logits >= least].all()
    assert (rows.tolist(), ids.tolist()) == tuple(part.tolist() for part in np.nonzero(found))
