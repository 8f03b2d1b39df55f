"""Open the serving graph (the ONNX graph of an artifact) as a session, and check it against ``config.json``.

`generation/export/graph.py` writes the graph and names its inputs and outputs.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime as ort

from generation.model.artifact import ADVICE, ArtifactConfig, ArtifactError
from generation.model.embedding import EmbeddingTable
from generation.model.machine import has_exact_int8_products

# Prefixes of the graph's inputs for the two parts of the cache.
STAGING, BATCH = "staging", "batch"
# Graphs of this precision return unscaled logits, and the scale of each row as a second output.
SCALED, SCALES = "int8", "logit_scales"
# The graph's name for the embedding table.
TABLE = "transformer.wte.weight"


def open_session(path: Path, threads: int, table: EmbeddingTable | None = None) -> ort.InferenceSession:
    """Load the serving graph for `threads` compute threads.

    The session keeps a reference to `table`. Pass the same table to the `Model`, which fetches its rows.

    Raises:
        ArtifactError: onnxruntime cannot load the file.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Otherwise onnxruntime keeps a plan, and megabytes of memory, for every shape of a step.
    options.enable_mem_pattern = False
    # onnxruntime reads this when it creates the operator, and has no other option for it. Its attention in tiles saves
    # memory for long prompts, but a step of decoding takes longer, and a chunk of a prompt no less.
    os.environ.setdefault("ORT_GQA_DISABLE_FLASH_ATTENTION", "1")
    _register_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    if not has_exact_int8_products():
        # Selects the exact u8 x u8 kernels. Where they are not needed, they would cost a fifth to two thirds of the
        # speed.
        options.add_session_config_entry("session.x64quantprecision", "1")
    shared = None
    if table is not None:
        # Otherwise onnxruntime maps the table itself.
        shared = ort.OrtValue.ortvalue_from_numpy(table.data)
        options.add_initializer(TABLE, shared)
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime's exception classes share no base but Exception.
        raise ArtifactError(f"onnxruntime cannot load {path}: {str(error).splitlines()[0]}") from error
    # onnxruntime keeps only the address of this memory, so the session must hold the references.
    session.reads = (table, shared)
    return session


@cache
def _register_arena() -> None:
    """Make the arena of all sessions grow by exactly the requested size; it frees only entirely unused blocks."""
    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, ort.OrtArenaCfg({"arena_extend_strategy": 1}))


def check_graph(session: ort.InferenceSession, config: ArtifactConfig) -> None:
    """Compare the shapes and types of the graph's caches and logits with ``config.json``.

    The cache is bound by address, so a graph with larger shapes would write past its end.

    Raises:
        ArtifactError: graph and configuration belong to different models.
    """
    element = {"float32": "float", "int8": "int8"}.get(config.cache)
    wanted: dict[str, tuple[str, list[Any]]] = {}
    for part, kind in ((STAGING, "float"), (BATCH, element)):
        for layer in range(config.layers):
            for entry in ("key", "value"):
                name = f"{part}.past.{layer}.{entry}"
                wanted[name] = (f"tensor({kind})", [config.heads, config.head_size])
    found = {
        one.name: (one.type, [size for size in one.shape if isinstance(size, int)])
        for one in session.get_inputs()
        if ".past." in one.name
    }
    outputs = session.get_outputs()
    scaled = any(one.name == SCALES for one in outputs)
    if found != wanted or outputs[0].shape[-1] != config.vocabulary or scaled != (config.precision == SCALED):
        raise ArtifactError(f"model.onnx and config.json belong to different models; {ADVICE}")
