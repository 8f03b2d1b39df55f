"""The serving graph against PyTorch, and against itself in other company."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from generation.export import cache_range, moments
from generation.export.attention import BATCH, STAGING
from generation.export.cache_range import fold
from generation.export.checkpoint import Checkpoint, load
from generation.export.defaults import DEFAULT_CACHES, PRECISIONS, Precision
from generation.export.errors import ExportError
from generation.export.graph import build
from generation.export.hub import Folder
from generation.export.serving import Cache, Serving
from tests.support.checkpoints import CONTEXT, VOCABULARY, write_checkpoint

IDS = np.random.default_rng(5).integers(0, VOCABULARY, 200).tolist()


def parameters_of(checkpoint: Checkpoint) -> dict[str, NDArray[np.float32]]:
    state = checkpoint.model.transformer.state_dict(prefix="transformer.")
    return {name: tensor.numpy() for name, tensor in state.items()}


def logits_of(checkpoint: Checkpoint, ids: list[int]) -> NDArray[np.float32]:
    with torch.inference_mode():
        logits: NDArray[np.float32] = checkpoint.model(torch.tensor([ids])).logits[0].numpy()
    return logits


def graph_of(checkpoint: Checkpoint, precision: Precision) -> onnx.ModelProto:
    parameters = parameters_of(checkpoint)
    if precision != "fp32":
        parameters = dict(fold(parameters, cache_range.measure(checkpoint.model, IDS)))
    seen = moments.measure(checkpoint.model, parameters, [IDS]) if precision == "int4" else None
    return build(parameters, checkpoint.shape, precision, DEFAULT_CACHES[precision], seen)


def serving_of(checkpoint: Checkpoint, precision: Precision, folder: Path) -> Serving:
    path = folder / f"{precision}.onnx"
    path.write_bytes(graph_of(checkpoint, precision).SerializeToString())
    return Serving(path, checkpoint.shape, DEFAULT_CACHES[precision])


@pytest.fixture(scope="module")
def served(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[Precision, Serving]:
    folder = tmp_path_factory.mktemp("served")
    return {precision: serving_of(checkpoint, precision, folder) for precision in PRECISIONS}


def filled(serving: Serving, ids: list[int]) -> Cache:
    """Prefill in a staging row, then join the batch."""
    staging, batch = serving.staging(), serving.batch(1)
    list(serving.prefill(staging, ids))
    serving.join(staging, batch, 0)
    return batch


def together(caches: list[Cache]) -> Cache:
    return [np.concatenate(buffers) for buffers in zip(*caches, strict=True)]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_inputs_and_outputs_are_the_contract(checkpoint: Checkpoint, precision: Precision) -> None:
    graph = graph_of(checkpoint, precision).graph
    found = {
        value.name: (
            value.type.tensor_type.elem_type,
            [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in [*graph.input, *graph.output]
    }
    scales = {"logit_scales": (TensorProto.FLOAT, ["W", 1])} if precision == "int8" else {}
    kinds = {"staging": TensorProto.FLOAT, "batch": TensorProto.FLOAT if precision == "fp32" else TensorProto.INT8}
    assert found == {
        "input_ids": (TensorProto.INT64, ["N"]),
        "position_ids": (TensorProto.INT64, ["N"]),
        "logit_positions": (TensorProto.INT64, ["W"]),
        "places": (TensorProto.INT64, ["N"]),
        "logits": (TensorProto.FLOAT, ["W", VOCABULARY]),
        **scales,
        **{f"{part}_slots": (TensorProto.INT64, [f"{part} rows", f"{part} tokens"]) for part in kinds},
        **{
            f"{part}_{name}": (TensorProto.INT32, [f"{part} rows"])
            for part in kinds
            for name in ("counts", "seqlens_k")
        },
        **{
            f"{part}.{side}.{i}.{kind}": (elements, [f"{part} rows", 4, "M", 32])
            for part, elements in kinds.items()
            for side in ("past", "present")
            for i in (0, 1)
            for kind in ("key", "value")
        },
    }


@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_table_serves_as_embedding_and_head(checkpoint: Checkpoint, precision: Precision) -> None:
    tensors = {tensor.name: tensor for tensor in graph_of(checkpoint, precision).graph.initializer}

    # Two names, so that the runtime need not keep both forms whole; in the file they share a place.
    assert tensors["lm_head.weight"].raw_data == tensors["transformer.wte.weight"].raw_data


def test_fp32_equals_pytorch_over_chunks_and_steps(checkpoint: Checkpoint, served: dict[Precision, Serving]) -> None:
    serving = served["fp32"]
    found = [*serving.prefill(serving.staging(), IDS[:190])]
    cache = filled(serving, IDS[:190])
    found += [serving.decode(cache, [IDS[at]], [at]) for at in range(190, 200)]

    assert np.abs(np.concatenate(found) - logits_of(checkpoint, IDS)).max() < 1e-4


@pytest.mark.parametrize("part", [STAGING, BATCH])
@pytest.mark.parametrize(("precision", "part_of_spread"), [("int8", 0.05), ("int4", 0.4)])
def test_quantized_is_near_pytorch(
    checkpoint: Checkpoint, served: dict[Precision, Serving], precision: Precision, part_of_spread: float, part: str
) -> None:
    expected, serving = logits_of(checkpoint, IDS), served[precision]
    cache = serving.staging() if part == STAGING else serving.batch(1)
    found = np.concatenate([*serving.prefill(cache, IDS, part)])

    assert 0 < np.abs(found - expected).mean() < part_of_spread * expected.std()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_the_wanted_positions_come_back(served: dict[Precision, Serving], precision: Precision) -> None:
    serving, ids = served[precision], [IDS[:20]]
    every = serving.step(STAGING, serving.staging(), ids, [0], range(20))

    assert np.array_equal(serving.step(STAGING, serving.staging(), ids, [0], [17, 3]), every[[17, 3]])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_wanted_position_still_fills_the_cache(served: dict[Precision, Serving], precision: Precision) -> None:
    serving = served[precision]
    cache, expected = serving.staging(), serving.staging()
    assert serving.step(STAGING, cache, [IDS[:20]], [0], []).shape == (0, VOCABULARY)

    list(serving.prefill(expected, IDS[:20]))
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
        assert np.allclose(batch, np.stack(single), rtol=0, atol=1e-4 if precision == "fp32" else 0)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_several_tokens_at_once_equal_one_by_one(served: dict[Precision, Serving], precision: Precision) -> None:
    """Bit for bit, rows of several lengths and numbers of tokens together: what makes speculation exact."""
    serving = served[precision]
    lengths, counts = [150, 1, 40], [4, 1, 7]
    alone = [filled(serving, IDS[:length]) for length in lengths]
    cache = together(alone)
    ids = [IDS[10 : 10 + count] for count in counts]
    found = serving.step(BATCH, cache, ids, lengths, range(sum(counts)))

    single = [
        serving.decode(alone[row], [token], [lengths[row] + place])[0]
        for row, tokens in enumerate(ids)
        for place, token in enumerate(tokens)
    ]
    assert np.array_equal(found, np.stack(single))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_prompts_prefilled_together_equal_each_alone(served: dict[Precision, Serving], precision: Precision) -> None:
    serving = served[precision]
    ids = [IDS[:30], IDS[30:42]]
    found = serving.step(STAGING, serving.staging(2), ids, [0, 0], [29, 30 + 11])

    first = [*serving.prefill(serving.staging(), ids[0])][-1][-1]
    second = [*serving.prefill(serving.staging(), ids[1])][-1][-1]
    assert np.allclose(found, [first, second], rtol=0, atol=1e-4 if precision == "fp32" else 0)


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
    found = np.concatenate([*serving.prefill(serving.staging(), IDS[:60])])

    assert np.abs(found - logits_of(checkpoint, IDS[:60])).max() < 1e-4


def test_a_missing_parameter_is_named(checkpoint: Checkpoint) -> None:
    parameters = parameters_of(checkpoint)
    del parameters["transformer.h.1.mlp.c_fc.bias"]

    with pytest.raises(ExportError, match=r"no parameter transformer\.h\.1\.mlp\.c_fc\.bias"):
        build(parameters, checkpoint.shape, "fp32", "float32")


def test_a_parameter_of_the_wrong_shape_is_named(checkpoint: Checkpoint) -> None:
    shape = replace(checkpoint.shape, inner=100)

    with pytest.raises(ExportError, match=r"c_fc\.weight has shape \[128, 512\], wanted \[128, 100\]"):
        build(parameters_of(checkpoint), shape, "fp32", "float32")
