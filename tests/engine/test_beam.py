"""Beam search: equal to that of `transformers`, in one batch with everything else."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

from generation.config import Settings
from generation.engine.beam import BeamSearch
from generation.engine.request import GenerationRequest, Update
from generation.sampling.params import SamplingParams
from generation.service import Loaded, load
from tests.support.fakes import END, FakeModel, logits_after, reasons, request
from tests.support.steps import add, assert_clean, make_core, run, step

PROMPTS = [(5, 6, 7), tuple(range(40, 90)), (301,)]


@pytest.fixture(scope="module")
def reference(checkpoint_folder: Path) -> GPT2LMHeadModel:
    model: GPT2LMHeadModel = GPT2LMHeadModel.from_pretrained(checkpoint_folder).eval()
    return model


@pytest.fixture(scope="module")
def fp32(artifacts: dict[str, Path]) -> Iterator[Loaded]:
    loaded = load(Settings(model_dir=artifacts["fp32"], threads=1))
    yield loaded
    loaded.engine.stop()


def _theirs(
    model: GPT2LMHeadModel, prompt: tuple[int, ...], beams: int, ends: list[int], **options: Any
) -> list[list[int]]:
    with torch.inference_mode():
        found = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            num_beams=beams,
            num_return_sequences=beams,
            do_sample=False,
            early_stopping=False,
            eos_token_id=ends or None,
            pad_token_id=399,
            **options,
        )
    return [_without_padding(row[len(prompt) :].tolist(), ends) for row in found]


def _without_padding(tokens: list[int], ends: list[int]) -> list[int]:
    places = [place for place, token in enumerate(tokens) if token in ends]
    return tokens[: places[0] + 1] if places else tokens


def _request(
    prompt: tuple[int, ...], beams: int, ends: list[int], length_penalty: float, max_tokens: int
) -> GenerationRequest:
    sampling = SamplingParams(ignore_eos=True, stop_token_ids=tuple(ends))
    return GenerationRequest(prompt, max_tokens, choices=beams, sampling=sampling, length_penalty=length_penalty)


async def _ask(loaded: Loaded, asked: GenerationRequest) -> list[list[int]]:
    tokens: list[list[int]] = [[] for _ in range(asked.choices)]
    for item in await loaded.engine.submit(asked).rest():
        if isinstance(item, Update):
            tokens[item.index] += [token.id for token in item.tokens]
    return tokens


@pytest.mark.parametrize("ends", [[], [399], [10, 20, 30, 50, 77, 120]], ids=str)
@pytest.mark.parametrize(("beams", "length_penalty"), [(1, 1.0), (2, 1.0), (4, 0.0), (4, 2.0), (5, -1.0)])
async def test_it_is_that_of_transformers(
    reference: GPT2LMHeadModel, fp32: Loaded, beams: int, length_penalty: float, ends: list[int]
) -> None:
    for prompt in PROMPTS:
        theirs = _theirs(reference, prompt, beams, ends, max_new_tokens=12, length_penalty=length_penalty)
        if beams > 1:
            assert await _ask(fp32, _request(prompt, beams, ends, length_penalty, 12)) == theirs
        else:
            greedy = SamplingParams(do_sample=False, ignore_eos=True, stop_token_ids=tuple(ends))
            assert await _ask(fp32, GenerationRequest(prompt, 12, sampling=greedy)) == theirs
            assert await _ask(fp32, _request(prompt, 1, ends, length_penalty, 12)) == theirs


async def test_other_requests_in_the_batch_make_no_difference(fp32: Loaded) -> None:
    searches = [_request(prompt, 3, [399], 1.0, 15) for prompt in PROMPTS]
    alone = [await _ask(fp32, one) for one in searches]
    sampled = GenerationRequest((9, 8), 20, choices=3, sampling=SamplingParams(seed=1, ignore_eos=True))
    alone.append(await _ask(fp32, sampled))
    together = await asyncio.gather(*(_ask(fp32, one) for one in [*searches, sampled]))
    assert list(together) == alone


def _search_by_hand(prompt: bytes, beams: int, steps: int) -> list[list[int]]:
    search = BeamSearch(beams, steps, 1.0, frozenset({END}))
    histories = [list(prompt)] * beams
    while not search.done:
        parents = search.advance([logits_after(history) for history in histories])
        if not search.done:
            histories = [
                histories[parent] + [token] for parent, token in zip(parents, search.last_tokens(), strict=True)
            ]
    return [list(tokens) for tokens in search.best()]


def test_the_cache_follows_the_beams_and_is_released() -> None:
    """The model of a few lines fails, or says something else, where a row holds other tokens than its beam."""
    model = FakeModel()
    core = make_core(model)
    box = add(core, request("once", 12, choices=3, length_penalty=1.0))
    other = add(core, plain := request("go", 30, ignore_eos=True))
    run(core)
    found: list[list[int]] = [[], [], []]
    for item in box.items:
        if isinstance(item, Update):
            found[item.index] += [token.id for token in item.tokens]
    assert found == _search_by_hand(b"once", 3, 12)
    assert set(reasons(box.items)) == {0, 1, 2}
    assert reasons(other.items) == {0: "length"}
    assert plain.choices == 1
    assert_clean(core, model)


def test_a_search_at_its_deadline_reports_what_it_has() -> None:
    model = FakeModel()
    core = make_core(model)
    box = add(core, request("once", 500, choices=2, length_penalty=1.0, ignore_eos=True))
    for _ in range(4):
        step(core)
    for group in core.scheduler.groups():
        group.deadline = 0
    run(core)
    assert set(reasons(box.items).values()) == {"timeout"}
    ends = [one for one in box.items if isinstance(one, Update) and one.finish_reason]
    assert [one.generated for one in ends] == [5, 5]
    assert_clean(core, model)


def test_a_cancelled_search_leaves_nothing_behind() -> None:
    model = FakeModel()
    core = make_core(model)
    box = add(core, request("once", 500, choices=4, length_penalty=1.0, ignore_eos=True))
    for _ in range(3):
        step(core)
    box.cancelled = True
    run(core)
    assert_clean(core, model)


def test_a_beam_that_goes_on_keeps_its_place() -> None:
    search = BeamSearch(2, 9, 1.0, frozenset())
    rows = [np.array([5, 5, 0, 0], np.float32)] * 2
    assert search.advance(rows) == [0, 0]
    assert search.last_tokens() == [0, 1]
    # The second beam goes on in two ways, the first in none.
    assert search.advance([np.zeros(4, np.float32), np.array([0, 9, 9, -9], np.float32)]) == [1, 1]
    assert sorted(search.best()) == [(1, 1), (1, 2)]
