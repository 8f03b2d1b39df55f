"""Open an artifact: check that its files are complete and belong to one model, and load it.

The server opens its artifact at start. The exporter opens an artifact before it publishes it, so every exported
artifact can be served.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from generation.model.artifact import (
    ADVICE,
    ArtifactConfig,
    ArtifactError,
    load_tokenizer,
    read_config,
    verify_files,
)
from generation.model.embedding import EmbeddingTable
from generation.model.machine import has_exact_int8_products
from generation.model.model import Model
from generation.model.session import check_graph, open_session
from generation.text.tokenizer import Tokenizer

# Products of 8-bit blocks have no other kernels to fall back on, as those of int8 have (see session.py).
NEED_EXACT = ("int8-blocks",)


@dataclass(frozen=True, slots=True)
class OpenArtifact:
    """A checked artifact with its ONNX session, but without a cache."""

    config: ArtifactConfig
    tokenizer: Tokenizer
    session: ort.InferenceSession
    table: EmbeddingTable

    def model(self, *, batch: int, staging: int, chunk: int) -> Model:
        """Return the model with a cache; run a step at its last position to check the context.

        Args:
            batch: number of batch rows.
            staging: number of staging rows.
            chunk: maximum number of prompt tokens per row in one step.

        Raises:
            ArtifactError: there is no memory for the cache, or the graph's context is shorter than config.json says.
        """
        try:
            model = Model(self.session, self.config, batch=batch, staging=staging, chunk=chunk, table=self.table)
        except (OSError, OverflowError) as error:
            raise ArtifactError(
                f"there is no memory for a cache of {batch} rows of {self.config.context} tokens ({error}): lower "
                f"MAX_RUNNING; if config.json is not the exporter's, {ADVICE}"
            ) from error
        model.check_context()
        return model


def open_artifact(folder: Path, threads: int) -> OpenArtifact:
    """Check the artifact in `folder` and load its graph for `threads` compute threads.

    Raises:
        ArtifactError: the artifact is missing, damaged, of another format, made of files of different models, or not
            for this processor.
    """
    config = read_config(folder)
    if config.precision in NEED_EXACT and not has_exact_int8_products():
        raise ArtifactError(
            f"{folder} has precision {config.precision!r}, whose sums could saturate on this processor: it lacks VNNI; "
            "export the model with --precision int8"
        )
    tokenizer, table, session = _read(folder, config, threads)
    check_graph(session, config)
    return OpenArtifact(config, tokenizer, session, table)


def _read(folder: Path, config: ArtifactConfig, threads: int) -> tuple[Tokenizer, EmbeddingTable, ort.InferenceSession]:
    """Check and read the files while onnxruntime loads the graph.

    Hashing and onnxruntime release the interpreter lock. Reading the tokenizer does not, so it starts last.

    Raises:
        ArtifactError: a file is missing, damaged, or of another kind.
    """
    with ThreadPoolExecutor(1) as pool:
        checking = pool.submit(verify_files, folder, config)
        reading = pool.submit(load_tokenizer, folder, config)
        try:
            table = EmbeddingTable(folder / "model.onnx.data", config)
            session = open_session(folder / "model.onnx", threads, table)
            tokenizer = reading.result()
        except ArtifactError:
            # A damaged file explains the failure better than the library that met it.
            checking.result()
            raise
        checking.result()
    return tokenizer, table, session
