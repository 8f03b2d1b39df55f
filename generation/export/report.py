"""What verification measured, and whether it is good enough."""

import math
from dataclasses import dataclass

from generation.export.defaults import CacheType, Precision
from generation.export.errors import ExportError

LOGIT_TOLERANCE = 1e-3
# What a lossy precision may cost, as a part of the checkpoint's perplexity.
PERPLEXITY_LIMITS: dict[Precision, float] = {"int8": 0.03, "int4": 0.10}


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Perplexity per token on the evaluation text. `change` is relative: 0.01 is one per cent worse."""

    checkpoint: float
    artifact: float
    change: float


@dataclass(frozen=True, slots=True)
class Greedy:
    """Greedy decoding of `prompts` prompts as one ragged batch, `steps` tokens each.

    `agreement` is the share of steps at which PyTorch, after the same tokens, chooses the same token: at 1.0 the
    sequences are equal. `largest_margin` is by how much, in logits, PyTorch preferred another token at worst.
    `batch_difference` is the largest difference in logits between one row in the batch and the same row alone.
    """

    prompts: int
    steps: int
    agreement: float
    largest_margin: float
    batch_difference: float


@dataclass(frozen=True, slots=True)
class Unseen:
    """What drafts do on texts of the model at one `temperature` that the draft table was not made of.

    `guessed` is the share of tokens that the table guesses right from the tokens before. Of the draft tokens that it
    contributed to drafts of up to four tokens, `drafted`, `accepted` were right. `tokens_per_step` is what such drafts
    make of a step together with prompt lookup, and `without_table` what prompt lookup makes of it alone.
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
    """The draft table: learned from so many `tokens`, of the model's own or of the file `text`, in so many `seconds`.

    It has `contexts`, and takes `size` bytes.
    """

    tokens: int
    text: str | None
    contexts: int
    size: int
    seconds: float
    unseen: list[Unseen]


@dataclass(frozen=True, slots=True)
class Report:
    """What verification measured. Differences are absolute, in logits, against the checkpoint in PyTorch.

    `drafts` is None for an artifact without a draft table.
    """

    precision: Precision
    cache: CacheType
    evaluation_tokens: int
    largest_logit_difference: float
    reference_logit_difference: float
    greedy: Greedy
    perplexity: Perplexity
    drafts: Drafts | None = None


def judge(report: Report, *, allow_loss: bool = False) -> None:
    """Refuse an artifact that is not good enough.

    Raises:
        ExportError: fp32 that is not the checkpoint's function, or another precision that costs too much (unless
            `allow_loss`).

    """
    # Written so that NaN fails: it compares as false.
    if not report.reference_logit_difference <= LOGIT_TOLERANCE:
        raise ExportError(
            f"the reference export differs from PyTorch by {report.reference_logit_difference:.3g} in a logit "
            f"(limit {LOGIT_TOLERANCE})"
        )
    if report.precision == "fp32":
        # A preference by less than the tolerance is a tie, which rounding may decide either way.
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
