"""Export a checkpoint: find, load, convert, write, verify and publish it as an artifact."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from generation.export import artifact, cache_range, external, hub, moments
from generation.export.cache_range import CALIBRATION_TEXT, fold
from generation.export.checkpoint import Checkpoint, load
from generation.export.defaults import (
    CACHE_TYPES,
    DEFAULT_CACHES,
    DEFAULT_PRECISION,
    PRECISIONS,
    CacheType,
    Precision,
)
from generation.export.drafts import DraftOptions, learn
from generation.export.errors import ExportError
from generation.export.graph import Parameters, build
from generation.export.products import EMBEDDING, HEAD
from generation.export.quantize import block_size
from generation.export.reference import export_reference, read_parameters
from generation.export.report import Report, judge
from generation.export.tokens import written
from generation.export.verify import verify
from generation.model.artifact import DRAFTS, ArtifactError

Progress = Callable[[str], None]


def export(
    model: str,
    output: Path | str,
    precision: Precision = DEFAULT_PRECISION,
    *,
    cache: CacheType | None = None,
    revision: str | None = None,
    name: str | None = None,
    adapter: str | None = None,
    allow_loss: bool = False,
    allow_unread: bool = False,
    drafts: DraftOptions | None = None,
    progress: Progress = lambda _: None,
) -> Report:
    """Export a checkpoint to an artifact folder, and verify the artifact.

    Args:
        model: a folder, or the id of a model on the hub.
        output: folder of the artifact; an existing artifact is replaced.
        precision: type of the weights.
        cache: type of keys and values in the batch; by default int8, and float32 if the weights are exact.
        revision: commit, tag or branch on the hub.
        name: name to serve the model by; by default its hub id or the name of its folder.
        adapter: an adapter to merge, a folder or a hub id.
        allow_loss: whether to accept a higher perplexity than the precision may cost.
        allow_unread: whether to accept weights that the model does not use.
        drafts: how to learn the draft table; None for no table. A float32 cache has none, because it cannot use one.
        progress: called with a description of each stage as it starts.

    Raises:
        ExportError: something that the user can fix. The output is then unchanged.

    """
    if precision not in PRECISIONS:
        raise ExportError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    cache = cache or DEFAULT_CACHES[precision]
    if cache not in CACHE_TYPES or (precision == "fp32" and cache != "float32"):
        raise ExportError(f"cache {cache!r}: fp32 needs float32, the others take {' or '.join(CACHE_TYPES)}")
    if drafts is not None:
        drafts.check()
    output = Path(output).expanduser().resolve()
    with artifact.staging(output) as folder:
        progress(f"getting {model}")
        found = hub.find(model, revision, adapter=adapter, progress=progress)
        progress("loading the checkpoint")
        checkpoint = load(found if name is None else replace(found, name=name), allow_unread=allow_unread)
        for note in checkpoint.notes:
            progress(f"note: {note}")
        with TemporaryDirectory(dir=folder) as scratch:
            progress("exporting the portable reference graph")
            reference = export_reference(checkpoint.model, Path(scratch))
            parameters = _parameters(checkpoint, reference)
            ids: list[int] = checkpoint.tokenizer.encode(CALIBRATION_TEXT.read_text(encoding="utf-8")).ids
            if cache == "int8":
                parameters = fold(parameters, cache_range.measure(checkpoint.model, ids))
            seen = _moments(checkpoint, parameters, ids, progress) if precision == "int4" else None
            progress(f"writing the serving graph, {precision}")
            graph = build(parameters, checkpoint.shape, precision, cache, seen)
            external.save(graph, folder / artifact.MODEL, folder / artifact.WEIGHTS, EMBEDDING)
            del graph, parameters, seen
            (folder / artifact.TOKENIZER).write_text(written(checkpoint.tokenizer), encoding="utf-8")
            artifact.write_config(folder, checkpoint, precision, cache)
            progress("verifying it against PyTorch")
            try:
                report = verify(checkpoint, reference, folder)
            except ArtifactError as error:
                raise ExportError(f"the server would refuse the artifact: {error}") from error
        judge(report, allow_loss=allow_loss)
        if drafts is not None and drafts.tokens and cache == "int8":
            report = replace(report, drafts=learn(folder, folder / DRAFTS, drafts, progress))
            artifact.list_drafts(folder)
        progress(f"putting it in {output}")
        artifact.write_report(folder, report)
        artifact.publish(folder, output)
    return report


def _parameters(checkpoint: Checkpoint, reference: Path) -> Parameters:
    """Return the parameters of the reference, and the language model head if it is not the embedding table."""
    parameters = read_parameters(reference)
    if not checkpoint.tied:
        parameters[f"{HEAD}.weight"] = checkpoint.model.lm_head.weight.detach().numpy()
    return parameters


def _moments(checkpoint: Checkpoint, parameters: Parameters, ids: list[int], progress: Progress) -> moments.Moments:
    shape = checkpoint.shape
    block_size(shape.width, shape.inner)  # if there is none, it is better said before a minute of work
    progress("letting the checkpoint write, to see what its layers take")
    context = shape.context
    texts = [ids[start : start + context] for start in range(0, len(ids), context)]
    texts += moments.write_texts(checkpoint.model, checkpoint.tokens.begin_of_text or 0).tolist()
    return moments.measure(checkpoint.model, parameters, texts)
