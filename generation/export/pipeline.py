"""Export a checkpoint: find, load, convert, write, verify and publish it as an artifact."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from generation.export import activation_scales, artifact, cache_range, external, hub, moments
from generation.export.activation_scales import Scales, smooth
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

# Precisions whose activations may have constant scales, and the highest increase of perplexity to accept for them. With
# a scale per token, int8 costs a few tenths of a percent.
CONSTANT_SCALES: tuple[Precision, ...] = ("int8", "int8-blocks")
MOST_CONSTANT = 0.01


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
            (folder / artifact.TOKENIZER).write_text(written(checkpoint.tokenizer), encoding="utf-8")
            report = _Conversion(checkpoint, reference, folder, precision, cache, progress).run()
        judge(report, allow_loss=allow_loss)
        if drafts is not None and drafts.tokens and cache == "int8":
            report = replace(report, drafts=learn(folder, folder / DRAFTS, drafts, progress))
            artifact.list_drafts(folder)
        progress(f"putting it in {output}")
        artifact.write_report(folder, report)
        artifact.publish(folder, output)
    return report


@dataclass(frozen=True, slots=True)
class _Conversion:
    """The conversion of a loaded checkpoint, with its portable `reference`, to a graph in `folder`."""

    checkpoint: Checkpoint
    reference: Path
    folder: Path
    precision: Precision
    cache: CacheType
    progress: Progress

    def run(self) -> Report:
        """Write the serving graph and config.json, and verify them; raises like `export`."""
        checkpoint = self.checkpoint
        parameters = _parameters(checkpoint, self.reference)
        ids: list[int] = checkpoint.tokenizer.encode(CALIBRATION_TEXT.read_text(encoding="utf-8")).ids
        if self.cache == "int8":
            parameters = fold(parameters, cache_range.measure(checkpoint.model, ids))
        if self.precision not in CONSTANT_SCALES:
            wanted = self.precision == "int4"
            return self._write(parameters, _moments(checkpoint, parameters, ids, self.progress) if wanted else None)
        smoothed, scales = smooth(parameters, activation_scales.measure(checkpoint.model, ids))
        report = self._write(smoothed, scales=scales)
        if report.perplexity.change <= MOST_CONSTANT:
            return replace(report, constant_scales=True)
        self.progress(f"note: constant scales cost {report.perplexity.change:.1%} perplexity: using a scale per token")
        return self._write(parameters)

    def _write(
        self, parameters: Parameters, seen: moments.Moments | None = None, scales: Scales | None = None
    ) -> Report:
        self.progress(f"writing the serving graph, {self.precision}")
        graph = build(parameters, self.checkpoint.shape, self.precision, self.cache, moments=seen, scales=scales)
        external.save(graph, self.folder / artifact.MODEL, self.folder / artifact.WEIGHTS, EMBEDDING)
        del graph
        artifact.write_config(self.folder, self.checkpoint, self.precision, self.cache)
        self.progress("verifying it against PyTorch")
        try:
            return verify(self.checkpoint, self.reference, self.folder)
        except ArtifactError as error:
            raise ExportError(f"the server would refuse the artifact: {error}") from error


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
