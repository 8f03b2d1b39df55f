"""Hyperparameters of a training run, without heavy imports, so that the help text appears at once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """All hyperparameters of a training run. Sizes are in tokens, rates are per optimizer step.

    With a Muon rate of 0, AdamW trains the matrices, too.
    """

    layers: int = 6
    width: int = 192
    heads: int = 6
    context: int = 512
    vocabulary: int = 4096
    batch: int = 8
    epochs: float = 6.0
    dropout: float = 0.0
    muon_rate: float = 0.02
    adam_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup: float = 0.02
    decay: float = 0.6
    seed: int = 1


# Fine-tuning uses AdamW alone, at a fortieth of the rate and for half the epochs, to keep what was learnt before.
FINE_TUNING = Recipe(epochs=3.0, muon_rate=0.0, adam_rate=5e-5, weight_decay=0.01, warmup=0.1, decay=0.9)
# Fields that fine-tuning takes from the checkpoint.
SHAPE = ("layers", "width", "heads", "vocabulary", "dropout")
