"""The serving graph against PyTorch. What a row gets beside others is tested in tests/model/test_model.py."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from generation.engine.interface import Chunk, Logits
from generation.export import activation_scales, cache_range, moments
from generation.export.activation_scales import smooth
from generation.export.cache_range import fold
from generation.export.checkpoint import Checkpoint, load
from generation.export.defaults import DEFAULT_CACHES, PRECISIONS, Precision
from generation.export.errors import ExportError
from generation.export.graph import Parameters, build
from generation.export.hub import Folder
from generation.export.pipeline import CONSTANT_SCALES
from generation.model.model import Model
from tests.support.artifacts import logits_of_batch, logits_of_prefill, model_of
from tests.support.checkpoints import CONTEXT, VOCABULARY, write_checkpoint
from tests.support.precisions import HERE

IDS = np.random.default_rng(5).integers(0, VOCABULARY, 200).tolist()


def parameters_of(checkpoint: Checkpoint) -> dict[str, NDArray[np.float32]]:
    state = checkpoint.model.transformer.state_dict(prefix="transformer.")
    return {name: tensor.numpy() for name, tensor in state.items()}


def logits_of(checkpoint: Checkpoint, ids: list[int]) -> NDArray[np.float32]:
    with torch.inference_mode():
        logits: NDArray[np.float32] = checkpoint.model(torch.tensor([ids])).logits[0].numpy()
    return logits


def graph_of(checkpoint: Checkpoint, precision: Precision) -> onnx.ModelProto:
    parameters: Parameters = parameters_of(checkpoint)
    if not checkpoint.tied:
        parameters = {**parameters, "lm_head.weight": checkpoint.model.lm_head.weight.detach().numpy()}
    if precision != "fp32":
        parameters = fold(parameters, cache_range.measure(checkpoint.model, IDS))
    seen = moments.measure(checkpoint.model, parameters, [IDS]) if precision == "int4" else None
    scales = None
    if precision in CONSTANT_SCALES:
        parameters, scales = smooth(parameters, activation_scales.measure(checkpoint.model, IDS))
    return build(parameters, checkpoint.shape, precision, DEFAULT_CACHES[precision], moments=seen, scales=scales)


def opened(checkpoint: Checkpoint, precision: Precision, folder: Path) -> Model:
    path = folder / f"{precision}.onnx"
    path.write_bytes(graph_of(checkpoint, precision).SerializeToString())
    return model_of(path, checkpoint.shape, precision)


@pytest.fixture(scope="module")
def models(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[Precision, Model]:
    folder = tmp_path_factory.mktemp("graphs")
    return {precision: opened(checkpoint, precision, folder) for precision in HERE}


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


def test_fp32_equals_pytorch_over_chunks_and_steps(checkpoint: Checkpoint, models: dict[Precision, Model]) -> None:
    model = models["fp32"]
    found = [logits_of_prefill(model, IDS[:190])]
    model.cache.copy(model.cache.batch, 0, 190)
    found += [model.decode([[IDS[at]]], [at]).copy() for at in range(190, 200)]

    assert np.abs(np.concatenate(found) - logits_of(checkpoint, IDS)).max() < 1e-4


@pytest.mark.parametrize("compute", [logits_of_prefill, logits_of_batch])
@pytest.mark.parametrize(("precision", "part_of_spread"), [("int8", 0.06), ("int8-blocks", 0.06), ("int4", 0.4)])
def test_quantized_is_near_pytorch(
    checkpoint: Checkpoint,
    models: dict[Precision, Model],
    precision: Precision,
    part_of_spread: float,
    compute: Callable[[Model, list[int]], Logits],
) -> None:
    expected, found = logits_of(checkpoint, IDS), compute(models[precision], IDS)

    assert 0 < np.abs(found - expected).mean() < part_of_spread * expected.std()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_the_wanted_positions_come_back(models: dict[Precision, Model], precision: Precision) -> None:
    model = models[precision]
    every = logits_of_prefill(model, IDS[:20])

    assert np.array_equal(model.prefill([Chunk(model.cache.batch, IDS[:20], 0, 17)]), every[17:])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_last_position_of_the_context_can_be_used(models: dict[Precision, Model], precision: Precision) -> None:
    model, whole = models[precision], (IDS * 2)[:CONTEXT]
    logits_of_prefill(model, whole[:-1])
    model.cache.copy(model.cache.batch, 0, CONTEXT - 1)

    assert np.isfinite(model.decode([whole[-1:]], [CONTEXT - 1])).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"n_inner": 80},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"reorder_and_upcast_attn": True},
        {"activation_function": "gelu_pytorch_tanh"},
        {"activation_function": "gelu"},
        {"activation_function": "relu"},
        {"activation_function": "silu"},
        {"activation_function": "tanh"},
        {"tie_word_embeddings": False},
        {"layer_norm_epsilon": 0.1},
        {"n_layer": 1},
        {"n_embd": 160, "n_head": 8},  # heads of 20, between blocks of the operator
        {"n_embd": 2, "n_head": 2},
    ],
    ids=str,
)
def test_a_variant_equals_pytorch(tmp_path: Path, changes: dict[str, object]) -> None:
    checkpoint = load(Folder(write_checkpoint(tmp_path / "variant", **changes), "variant", None))
    found = logits_of_prefill(opened(checkpoint, "fp32", tmp_path), IDS[:60])

    assert np.abs(found - logits_of(checkpoint, IDS[:60])).max() < 1e-4


@pytest.mark.parametrize(("precision", "part_of_spread"), [("int8", 0.06), ("int8-blocks", 0.06), ("int4", 0.4)])
@pytest.mark.parametrize(
    "changes", [{"activation_function": "gelu"}, {"tie_word_embeddings": False}, {"n_embd": 160, "n_head": 8}], ids=str
)
def test_a_quantized_variant_is_near_pytorch(
    tmp_path: Path, changes: dict[str, object], precision: Precision, part_of_spread: float
) -> None:
    checkpoint = load(Folder(write_checkpoint(tmp_path / "variant", **changes), "variant", None))
    expected, found = logits_of(checkpoint, IDS), logits_of_prefill(opened(checkpoint, precision, tmp_path), IDS)

    assert 0 < np.abs(found - expected).mean() < part_of_spread * expected.std()


def test_a_missing_parameter_is_named(checkpoint: Checkpoint) -> None:
    parameters = parameters_of(checkpoint)
    del parameters["transformer.h.1.mlp.c_fc.bias"]

    with pytest.raises(ExportError, match=r"no parameter transformer\.h\.1\.mlp\.c_fc\.bias"):
        build(parameters, checkpoint.shape, "fp32", "float32")


def test_a_parameter_of_the_wrong_shape_is_named(checkpoint: Checkpoint) -> None:
    shape = replace(checkpoint.shape, inner=100)

    with pytest.raises(ExportError, match=r"c_fc\.weight has shape \[128, 512\], wanted \[128, 100\]"):
        build(parameters_of(checkpoint), shape, "fp32", "float32")
