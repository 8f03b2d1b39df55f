"""The serving graph against PyTorch, and against itself in other company."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from generation.export.checkpoint import Checkpoint, load
from generation.export.defaults import PRECISIONS, Precision
from generation.export.errors import ExportError
from generation.export.graph import build
from generation.export.hub import Folder
from generation.export.serving import Cache, Serving
from tests.export.conftest import CONTEXT, VOCABULARY, write_checkpoint

IDS = np.random.default_rng(5).integers(0, VOCABULARY, 200).tolist()


def parameters_of(checkpoint: Checkpoint) -> dict[str, NDArray[np.float32]]:
    return {name: tensor.numpy() for name, tensor in checkpoint.model.state_dict().items()}


def logits_of(checkpoint: Checkpoint, ids: list[int]) -> NDArray[np.float32]:
    with torch.inference_mode():
        logits: NDArray[np.float32] = checkpoint.model(torch.tensor([ids])).logits[0].numpy()
    return logits


def serving_of(checkpoint: Checkpoint, precision: Precision, folder: Path) -> Serving:
    path = folder / f"{precision}.onnx"
    path.write_bytes(build(parameters_of(checkpoint), checkpoint.shape, precision).SerializeToString())
    return Serving(path, checkpoint.shape)


@pytest.fixture(scope="module")
def served(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[Precision, Serving]:
    folder = tmp_path_factory.mktemp("served")
    return {precision: serving_of(checkpoint, precision, folder) for precision in PRECISIONS}


def filled(serving: Serving, ids: list[int]) -> Cache:
    cache = serving.cache(1)
    list(serving.prefill(cache, ids))
    return cache


def together(caches: list[Cache]) -> Cache:
    return [np.concatenate(buffers) for buffers in zip(*caches, strict=True)]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_inputs_and_outputs_are_the_contract(checkpoint: Checkpoint, precision: Precision) -> None:
    graph = build(parameters_of(checkpoint), checkpoint.shape, precision).graph
    found = {
        value.name: (
            value.type.tensor_type.elem_type,
            [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in [*graph.input, *graph.output]
    }
    cache = (TensorProto.FLOAT, ["B", 3, "M", 16])

    assert found == {
        "input_ids": (TensorProto.INT64, ["B", "S"]),
        "position_ids": (TensorProto.INT64, ["B", "S"]),
        "seqlens_k": (TensorProto.INT32, ["B"]),
        "total_sequence_length": (TensorProto.INT32, []),
        "logit_positions": (TensorProto.INT64, ["W"]),
        "logits": (TensorProto.FLOAT, ["W", VOCABULARY]),
        **{
            f"{side}.{i}.{part}": cache
            for side in ("past_key_values", "present")
            for i in (0, 1)
            for part in ("key", "value")
        },
    }


@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_table_serves_as_embedding_and_head(checkpoint: Checkpoint, precision: Precision) -> None:
    graph = build(parameters_of(checkpoint), checkpoint.shape, precision).graph
    size = VOCABULARY * checkpoint.shape.width

    assert sum(np.prod(tensor.dims) == size for tensor in graph.initializer) == 1


def test_fp32_equals_pytorch_over_chunks_and_steps(checkpoint: Checkpoint, served: dict[Precision, Serving]) -> None:
    serving = served["fp32"]
    cache = serving.cache(1)
    found = [*serving.prefill(cache, IDS[:190])]
    found += [serving.decode(cache, [IDS[at]], [at]) for at in range(190, 200)]

    assert np.abs(np.concatenate(found) - logits_of(checkpoint, IDS)).max() < 1e-4


def test_int8_is_near_pytorch(checkpoint: Checkpoint, served: dict[Precision, Serving]) -> None:
    expected = logits_of(checkpoint, IDS)
    found = np.concatenate([*served["int8"].prefill(served["int8"].cache(1), IDS)])

    assert 0 < np.abs(found - expected).mean() < 0.05 * expected.std()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_the_wanted_positions_come_back(served: dict[Precision, Serving], precision: Precision) -> None:
    serving, ids = served[precision], np.array([IDS[:20]], np.int64)
    every = serving.step(serving.cache(1), ids, [0], range(20))

    assert np.array_equal(serving.step(serving.cache(1), ids, [0], [17, 3]), every[[17, 3]])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_wanted_position_still_fills_the_cache(served: dict[Precision, Serving], precision: Precision) -> None:
    serving, ids = served[precision], np.array([IDS[:20]], np.int64)
    cache = serving.cache(1)
    assert serving.step(cache, ids, [0], []).shape == (0, VOCABULARY)

    expected = filled(serving, IDS[:20])
    assert all(np.array_equal(one, other) for one, other in zip(cache, expected, strict=True))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_decoded_row_does_not_depend_on_its_company(served: dict[Precision, Serving], precision: Precision) -> None:
    serving = served[precision]
    lengths = [150, 1, 40, 128, 7]
    alone = [filled(serving, IDS[:length]) for length in lengths]
    cache = together(alone)

    for step in range(3):
        now, tokens = [n + step for n in lengths], IDS[step : step + 5]
        batch = serving.decode(cache, tokens, now)
        single = [serving.decode(alone[i], [tokens[i]], [now[i]])[0] for i in range(5)]
        # The integer sums are exact; float ones may be taken in another order on another kind of CPU.
        assert np.allclose(batch, np.stack(single), rtol=0, atol=0 if precision == "int8" else 1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_right_padded_prefill_equals_one_by_one(served: dict[Precision, Serving], precision: Precision) -> None:
    serving = served[precision]
    padded = np.array([IDS[:30], IDS[30:42] + [0] * 18], np.int64)
    found = serving.step(serving.cache(2), padded, [0, 0], [29, 30 + 11])

    first = [*serving.prefill(serving.cache(1), IDS[:30])][-1][-1]
    second = [*serving.prefill(serving.cache(1), IDS[30:42])][-1][-1]
    assert np.allclose(found, [first, second], rtol=0, atol=0 if precision == "int8" else 1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_last_position_of_the_context_can_be_used(served: dict[Precision, Serving], precision: Precision) -> None:
    serving = served[precision]
    whole = (IDS * 2)[:CONTEXT]
    cache = filled(serving, whole[:-1])

    assert np.isfinite(serving.decode(cache, [whole[-1]], [CONTEXT - 1])).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"n_inner": 80},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"reorder_and_upcast_attn": True},
        {"activation_function": "gelu_pytorch_tanh"},
        {"layer_norm_epsilon": 0.1},
        {"n_layer": 1},
    ],
    ids=str,
)
def test_a_variant_equals_pytorch(tmp_path: Path, changes: dict[str, object]) -> None:
    checkpoint = load(Folder(write_checkpoint(tmp_path / "variant", **changes), "variant", None))
    serving = serving_of(checkpoint, "fp32", tmp_path)
    found = np.concatenate([*serving.prefill(serving.cache(1), IDS[:60])])

    assert np.abs(found - logits_of(checkpoint, IDS[:60])).max() < 1e-4


def test_a_missing_parameter_is_named(checkpoint: Checkpoint) -> None:
    parameters = parameters_of(checkpoint)
    del parameters["transformer.h.1.mlp.c_fc.bias"]

    with pytest.raises(ExportError, match=r"no parameter transformer\.h\.1\.mlp\.c_fc\.bias"):
        build(parameters, checkpoint.shape, "fp32")


def test_a_parameter_of_the_wrong_shape_is_named(checkpoint: Checkpoint) -> None:
    shape = replace(checkpoint.shape, inner=100)

    with pytest.raises(ExportError, match=r"c_fc\.weight has shape \[48, 192\], wanted \[48, 100\]"):
        build(parameters_of(checkpoint), shape, "fp32")
