"""Settings of a training run. Imports nothing heavy, so that the command line can answer at once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the result, besides the text. Sizes in tokens, rates per optimizer step.

    A Muon rate of nought leaves the matrices to AdamW too.
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


# Fine-tuning must not undo what the checkpoint has learnt: AdamW alone, at a fortieth of the rate, for half the epochs.
FINE_TUNING = Recipe(epochs=3.0, muon_rate=0.0, adam_rate=5e-5, weight_decay=0.01, warmup=0.1, decay=0.9)
# Settings that fine-tuning takes from the checkpoint.
SHAPE = ("layers", "width", "heads", "vocabulary", "dropout")
