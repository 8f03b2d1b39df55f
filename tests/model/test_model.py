"""The run time's model on real graphs: against `transformers`, and against itself with other rows in the batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

from generation.engine.interface import Chunk, Logits
from generation.export.defaults import PRECISIONS, Precision
from generation.model.artifact import ArtifactError, read_config
from generation.model.embedding import EmbeddingTable
from generation.model.model import Model
from generation.model.session import open_session
from tests.support.artifacts import LENGTHS, PROMPTS

CHUNK = 128


def _model(folder: Path) -> Model:
    config = read_config(folder)
    table = EmbeddingTable(folder / "model.onnx.data", config)
    return Model(open_session(folder / "model.onnx", 2, table), config, batch=8, staging=4, table=table)


@pytest.fixture(scope="module")
def fp32(artifacts: dict[str, Path]) -> Model:
    return _model(artifacts["fp32"])


@pytest.fixture(scope="module", params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> Precision:
    chosen: Precision = request.param
    return chosen


@pytest.fixture(scope="module")
def model(precision: Precision, artifacts: dict[str, Path]) -> Model:
    return _model(artifacts[precision])


def _prefill(model: Model, row: int, ids: list[int], chunk: int = CHUNK) -> Logits:
    """Return the logits of every token."""
    starts = range(0, len(ids), chunk)
    return np.concatenate([model.prefill([Chunk(row, ids[at : at + chunk], at, 0)]).copy() for at in starts])


def _greedy(model: Model, ids: list[int], steps: int) -> list[int]:
    token = int(_prefill(model, 8, ids)[-1].argmax())
    model.cache.copy(8, 0, len(ids))
    tokens, length = [token], len(ids)
    while len(tokens) < steps:
        token = int(model.decode([[token]], [length])[0].argmax())
        length += 1
        tokens.append(token)
    return tokens


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_tokens_are_those_of_transformers(fp32: Model, checkpoint_folder: Path, prompt: list[int]) -> None:
    reference: Any = GPT2LMHeadModel.from_pretrained(checkpoint_folder)
    generated = reference.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), max_new_tokens=64,
        do_sample=False, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    assert _greedy(fp32, prompt, 64) == generated[0, len(prompt) :].tolist()


def test_logits_are_those_of_transformers(fp32: Model, checkpoint_folder: Path) -> None:
    reference = GPT2LMHeadModel.from_pretrained(checkpoint_folder)
    with torch.inference_mode():
        expected = reference(torch.tensor([PROMPTS[-1]])).logits[0].numpy()
    assert np.abs(_prefill(fp32, 8, PROMPTS[-1]) - expected).max() < 1e-3


def test_a_sequence_gets_the_same_logits_alone_and_in_a_ragged_batch(model: Model) -> None:
    rng = np.random.default_rng(1)
    prompts = [rng.integers(0, model.vocabulary, length).tolist() for length in LENGTHS]
    steps = rng.integers(0, model.vocabulary, (6, len(prompts)))
    alone = []
    for place, prompt in enumerate(prompts):
        _prefill(model, 8, prompt)
        model.cache.copy(8, 0, len(prompt))
        alone.append([model.decode([[int(ids[place])]], [len(prompt) + n])[0].copy() for n, ids in enumerate(steps)])
    for place, prompt in enumerate(prompts):
        _prefill(model, 8 + place % 2, prompt)
        model.cache.copy(8 + place % 2, place, len(prompt))
    for n, ids in enumerate(steps):
        together = model.decode(ids[:, None].tolist(), [len(prompt) + n for prompt in prompts])
        for place in range(len(prompts)):
            np.testing.assert_array_equal(together[place], alone[place][n])


def test_several_tokens_of_a_row_get_the_logits_that_each_gets_by_itself(model: Model) -> None:
    """Bit for bit with an int8 cache, rows of several lengths and numbers of tokens together: speculation is exact."""
    ids, lengths, counts = PROMPTS[-1], [150, 1, 40], [4, 1, 3]
    following = [PROMPTS[-1][10 : 10 + count] for count in counts]
    alone = []
    for length, tokens in zip(lengths, following, strict=True):
        _prefill(model, 8, ids[:length])
        model.cache.copy(8, 0, length)
        alone += [model.decode([[token]], [length + place])[0].copy() for place, token in enumerate(tokens)]
    for row, length in enumerate(lengths):
        _prefill(model, 8, ids[:length])
        model.cache.copy(8, row, length)
    together = model.decode(following, lengths)
    tolerance = 0 if model.config.cache == "int8" else 1e-4
    np.testing.assert_allclose(together, np.stack(alone), rtol=0, atol=tolerance)


@pytest.mark.parametrize("chunk", [1, 33, 64])
def test_the_size_of_chunks_makes_no_difference_but_rounding(fp32: Model, chunk: int) -> None:
    """Rounding may differ, which is why prefix reuse works on whole chunks at their own place only."""
    np.testing.assert_allclose(_prefill(fp32, 9, PROMPTS[-1], chunk), _prefill(fp32, 8, PROMPTS[-1]), atol=1e-4)


def test_a_cache_that_was_put_back_gives_the_same_logits(model: Model) -> None:
    ids = PROMPTS[-1]
    whole = _prefill(model, 8, ids)
    block = model.cache.read(8, 0, CHUNK)
    model.cache.release(9)
    model.cache.write(9, 0, block)
    np.testing.assert_array_equal(model.prefill([Chunk(9, ids[CHUNK:], CHUNK, 0)]), whole[CHUNK:])


def test_steps_that_were_forgotten_are_made_again(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.model.model.MAX_STEPS", 2)
    for row in range(3):
        _prefill(model, 8, PROMPTS[-1])
        model.cache.copy(8, row, len(PROMPTS[-1]))
    shapes = [[[1]] * rows for rows in (1, 2, 3, 1, 2, 3)]
    logits = [model.decode(shape, [len(PROMPTS[-1])] * len(shape)).copy() for shape in shapes]
    assert len(model._steps) <= 2
    for before, after in zip(logits[:3], logits[3:], strict=True):
        np.testing.assert_array_equal(before, after)


def test_no_logits_are_returned_where_none_are_wanted(model: Model) -> None:
    assert model.prefill([Chunk(8, [1, 2, 3], 0, 3)]).shape == (0, model.vocabulary)


def test_a_chunk_gives_the_same_numbers_alone_and_beside_others(model: Model) -> None:
    rng = np.random.default_rng(2)
    # A single token, the end of a long prompt, and a row between them that has nothing to do.
    prompts = {8: [7], 10: rng.integers(0, model.vocabulary, CHUNK + 20).tolist(), 11: [1, 2, 3]}
    begun = {row: max(0, len(ids) - 20) // CHUNK * CHUNK for row, ids in prompts.items()}
    alone = {}
    for row, ids in prompts.items():
        for start in range(0, begun[row], CHUNK):
            model.prefill([Chunk(9, ids[start : start + CHUNK], start, CHUNK)])
        logits = model.prefill([Chunk(9, ids[begun[row] :], begun[row], 0)]).copy()
        alone[row] = logits, model.cache.read(9, 0, len(ids))
    kept = model.cache.read(9, 0, 3)
    for start in range(0, begun[10], CHUNK):
        model.prefill([Chunk(10, prompts[10][start : start + CHUNK], start, CHUNK)])
    together = model.prefill([Chunk(row, prompts[row][begun[row] :], begun[row], 0) for row in (10, 8, 11)])
    np.testing.assert_array_equal(together, np.concatenate([alone[row][0] for row in (10, 8, 11)]))
    for row, (_, block) in alone.items():
        np.testing.assert_array_equal(model.cache.read(row, 0, len(prompts[row])), block)
    np.testing.assert_array_equal(model.cache.read(9, 0, 3), kept)


def test_the_end_of_a_context_can_be_computed_beside_a_whole_chunk(model: Model) -> None:
    """The other row is padded to as many tokens, past the end of the context."""
    rng = np.random.default_rng(3)
    ids = rng.integers(0, model.vocabulary, model.context).tolist()
    last = Chunk(8, ids[-1:], model.context - 1, 0)
    _prefill(model, 8, ids[:-1])
    alone = model.prefill([last]).copy()
    after = model.cache.view(9).copy()
    chunk = Chunk(10, rng.integers(0, model.vocabulary, CHUNK).tolist(), 0, CHUNK)
    np.testing.assert_array_equal(model.prefill([last, chunk]), alone)
    np.testing.assert_array_equal(model.cache.view(9), after)


def test_the_rows_of_the_tokens_are_fetched(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[list[int]] = []
    monkeypatch.setattr(model._workspace.table, "fetch", fetched.append)
    model.prefill([Chunk(8, [1, 2, 3], 0, 0), Chunk(9, [4, 5], 0, 0)])
    model.decode([[6], [7, 8]], [3, 3])
    # What only completes a pair follows.
    assert [fetched[0][:5], fetched[1][:3]] == [[1, 2, 3, 4, 5], [6, 7, 8]]


def test_a_table_of_our_own_changes_no_number(model: Model, artifacts: dict[str, Path]) -> None:
    folder = artifacts[model.config.precision]
    without = Model(open_session(folder / "model.onnx", 2), model.config, batch=8, staging=4)
    np.testing.assert_array_equal(_prefill(model, 8, PROMPTS[-1]), _prefill(without, 8, PROMPTS[-1]))


def test_the_graph_looks_up_in_the_table_that_it_is_given(artifacts: dict[str, Path], precision: Precision) -> None:
    model = _model(artifacts[precision])
    before = _prefill(model, 8, [5]).copy()
    assert model._workspace.table is not None
    model._workspace.table.data[5] = model._workspace.table.data[6]  # a private mapping: the file stays as it is
    after = _prefill(model, 8, [5])
    assert np.abs(after - before).max() > 0.01


def test_no_plans_are_kept_for_shapes_of_steps(model: Model) -> None:
    assert not model._workspace.session.get_session_options().enable_mem_pattern


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ArtifactError, match="onnxruntime cannot load"):
        open_session(tmp_path / "model.onnx", 1)
