"""The results of verification, and the limits that an artifact must meet."""

import math
from dataclasses import dataclass

from generation.export.defaults import CacheType, Precision
from generation.export.errors import ExportError

LOGIT_TOLERANCE = 1e-3
# Maximum increase of perplexity by precision, as a fraction of the checkpoint's perplexity.
PERPLEXITY_LIMITS: dict[Precision, float] = {"int8": 0.03, "int8-blocks": 0.03, "int4": 0.10}


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Perplexity per token on the evaluation text. `change` is relative: 0.01 means 1 % higher."""

    checkpoint: float
    artifact: float
    change: float


@dataclass(frozen=True, slots=True)
class Greedy:
    """Results of greedy decoding of prompts of different lengths in one batch.

    Attributes:
        prompts: number of prompts.
        steps: number of tokens generated for each.
        agreement: fraction of steps at which PyTorch chooses the same token after the same tokens; 1.0 means equal
            sequences.
        largest_margin: largest difference, in logits, by which PyTorch preferred another token.
        batch_difference: largest difference, in logits, between a row in the batch and the same row alone.
    """

    prompts: int
    steps: int
    agreement: float
    largest_margin: float
    batch_difference: float


@dataclass(frozen=True, slots=True)
class Unseen:
    """Measurements of drafts on held-out texts that the model sampled at one `temperature`.

    Attributes:
        temperature: sampling temperature; 0 is greedy.
        tokens: number of tokens measured.
        guessed: fraction of tokens that the table predicts correctly from the preceding tokens.
        drafted: number of draft tokens from the table, in drafts of up to four tokens.
        accepted: number of those that were accepted.
        tokens_per_step: mean number of tokens per step with drafts from the table and from prompt lookup.
        without_table: mean number of tokens per step with drafts from prompt lookup alone.
    """

    temperature: float
    tokens: int
    guessed: float
    drafted: int
    accepted: int
    tokens_per_step: float
    without_table: float


@dataclass(frozen=True, slots=True)
class Drafts:
    """A draft table and its measurements.

    Attributes:
        tokens: number of tokens that it was learned from.
        text: name of the text file that it was learned from; None for text that the model sampled.
        contexts: number of contexts in the table.
        size: size of the file, in bytes.
        seconds: time to make the table and measure it.
        unseen: measurements on held-out texts, one for each temperature.
    """

    tokens: int
    text: str | None
    contexts: int
    size: int
    seconds: float
    unseen: list[Unseen]


@dataclass(frozen=True, slots=True)
class Report:
    """The results of verification. Differences are absolute, in logits, from the checkpoint in PyTorch.

    `constant_scales` says whether activations have constant scales where they can (see activation_scales.py); otherwise
    there is a scale per token. `drafts` is None for an artifact without a draft table.
    """

    precision: Precision
    cache: CacheType
    evaluation_tokens: int
    largest_logit_difference: float
    reference_logit_difference: float
    greedy: Greedy
    perplexity: Perplexity
    constant_scales: bool = False
    drafts: Drafts | None = None


def judge(report: Report, *, allow_loss: bool = False) -> None:
    """Check an artifact against the limits of its precision.

    Raises:
        ExportError: an fp32 artifact does not reproduce the checkpoint, or another precision raises perplexity too much
            and `allow_loss` is False.

    """
    # `not <=` instead of `>`, so that NaN fails.
    if not report.reference_logit_difference <= LOGIT_TOLERANCE:
        raise ExportError(
            f"the reference export differs from PyTorch by {report.reference_logit_difference:.3g} in a logit "
            f"(limit {LOGIT_TOLERANCE})"
        )
    if report.precision == "fp32":
        # A margin below the tolerance is a tie, which rounding may decide either way.
        worst = max(report.largest_logit_difference, report.greedy.largest_margin)
        if not worst <= LOGIT_TOLERANCE:
            raise ExportError(
                f"the fp32 graph differs from PyTorch by {worst:.3g} in a logit (limit {LOGIT_TOLERANCE}), "
                f"greedy agreement {report.greedy.agreement:.1%}"
            )
        return
    cost, limit = report.perplexity, PERPLEXITY_LIMITS[report.precision]
    if not math.isfinite(cost.artifact) or not (cost.change <= limit or allow_loss):
        before, after = cost.checkpoint, cost.artifact
        raise ExportError(
            f"{report.precision} would cost {cost.change:+.1%} perplexity on the evaluation text ({before:.2f} -> "
            f"{after:.2f}), more than {limit:.0%}. Use {_better(report)}, or accept the loss (--allow-loss)"
        )


def _better(report: Report) -> str:
    return (
        "int8 or fp32"
        if report.precision == "int4"
        else "--cache float32, or fp32"
        if report.cache == "int8"
        else "fp32"
    )
