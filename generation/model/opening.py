"""Open an artifact: check that its files are complete and belong to one model, and load it.

The server opens its artifact at start. The exporter opens an artifact before it publishes it, so every exported
artifact can be served.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generation.model.artifact import (
    ADVICE,
    ArtifactConfig,
    ArtifactError,
    load_tokenizer,
    read_config,
    verify_files,
)
from generation.model.machine import has_exact_int8_products

# Products of 8-bit blocks have no other kernels to fall back on, as those of int8 have (see session.py).
NEED_EXACT = ("int8-blocks",)

if TYPE_CHECKING:
    import onnxruntime as ort

    from generation.model.embedding import EmbeddingTable
    from generation.model.model import Model
    from generation.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class OpenArtifact:
    """A checked artifact with its ONNX session, but without a cache."""

    config: ArtifactConfig
    tokenizer: "Tokenizer"
    session: "ort.InferenceSession"
    table: "EmbeddingTable"

    def model(self, *, batch: int, staging: int, chunk: int) -> "Model":
        """Return the model with a cache; run a step at its last position to check the context.

        Args:
            batch: number of batch rows.
            staging: number of staging rows.
            chunk: maximum number of prompt tokens per row in one step.

        Raises:
            ArtifactError: there is no memory for the cache, or the graph's context is shorter than config.json says.
        """
        from generation.model.model import Model

        try:
            model = Model(self.session, self.config, batch=batch, staging=staging, chunk=chunk, table=self.table)
        except (OSError, OverflowError) as error:
            raise ArtifactError(
                f"there is no memory for a cache of {batch} rows of {self.config.context} tokens ({error}): lower "
                f"MAX_RUNNING; if config.json is not the exporter's, {ADVICE}"
            ) from error
        model.check_context()
        return model


class Opening:
    """An artifact that is being opened in the background.

    Hashing the files and loading the graph release the interpreter's lock. So they run while the caller imports what it
    needs next, and while `finish` reads the tokenizer, which holds the lock.

    Raises:
        ArtifactError: ``config.json`` is missing, damaged or of another format, or the precision is not for this
            processor.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder = folder
        self._config = read_config(folder)
        if self._config.precision in NEED_EXACT and not has_exact_int8_products():
            raise ArtifactError(
                f"{folder} has precision {self._config.precision!r}, whose sums could saturate on this processor: it "
                "lacks VNNI; export the model with --precision int8"
            )
        self._pool = ThreadPoolExecutor(2, "open")
        self._checking = self._pool.submit(verify_files, folder, self._config)
        # Only now: importing onnxruntime takes as long as hashing the files.
        from generation.model.embedding import EmbeddingTable
        from generation.model.session import open_session

        def load() -> "tuple[EmbeddingTable, ort.InferenceSession]":
            table = EmbeddingTable(folder / "model.onnx.data", self._config)
            return table, open_session(folder / "model.onnx", threads, table)

        self._loading: Future[tuple[EmbeddingTable, ort.InferenceSession]] = self._pool.submit(load)

    def finish(self) -> OpenArtifact:
        """Return the opened artifact.

        Raises:
            ArtifactError: a file is missing, damaged, or of another kind; or the files are of different models.
        """
        from generation.model.session import check_graph

        with self._pool:
            try:
                tokenizer = load_tokenizer(self._folder, self._config)
                table, session = self._loading.result()
            except ArtifactError:
                # A damaged file explains the failure better than the library that met it.
                self._checking.result()
                raise
            self._checking.result()
        check_graph(session, self._config)
        return OpenArtifact(self._config, tokenizer, session, table)


def open_artifact(folder: Path, threads: int) -> OpenArtifact:
    """Check the artifact in `folder` and load its graph for `threads` compute threads.

    Raises:
        ArtifactError: the artifact is missing, damaged, of another format, or made of files of different models.
    """
    return Opening(folder, threads).finish()
