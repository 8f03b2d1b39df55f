"""The bundled model: what its card claims is what was measured."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from generation.config import ROOT

DEMO = ROOT / "models" / "demo"
MOST_BITS = 0.80
MOST_BYTES = 20_000_000


@pytest.fixture(scope="module")
def card() -> str:
    return (DEMO / "README.md").read_text(encoding="utf-8")


def _json(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


def test_it_writes_stories_as_well_as_it_should_and_the_card_says_how_well(card: str) -> None:
    training = _json(DEMO / "checkpoint" / "training.json")
    bits = training["held_out"]["bits_per_character"]
    assert bits <= MOST_BITS
    assert f"{bits:.3f} bits per character" in card
    assert f"{training['held_out']['documents']} stories" in card
    assert f"{training['training']['documents']:,} stories" in card


def test_the_card_has_the_loss_of_the_report(card: str) -> None:
    change = _json(DEMO / "report.json")["perplexity"]["change"]
    assert f"{100 * change:+.2f} % perplexity" in card


def test_the_pages_about_precision_have_the_figures_of_the_report() -> None:
    report, size = _json(DEMO / "report.json"), sum(path.stat().st_size for path in DEMO.glob("model.onnx*"))
    change = f"{100 * report['perplexity']['change']:+.2f} %"
    row = f"| `int8` | {size / 1e6:.1f} MB | {change} | {100 * report['greedy']['agreement']:.1f} % |"
    assert row in (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert f"| int8 | int8 | {change} |" in (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


def test_the_card_has_the_shape_of_the_artifact(card: str) -> None:
    config = _json(DEMO / "config.json")
    shape = re.search(r"(\d+) layers, width (\d+), (\d+) heads, context (\d+), vocabulary ([\d,]+)", card)
    assert shape is not None
    layers, width, heads, context, vocabulary = (int(number.replace(",", "")) for number in shape.groups())
    assert (layers, heads, context, vocabulary) == tuple(
        config[name] for name in ("layers", "heads", "context", "vocabulary")
    )
    assert width == config["heads"] * config["head_size"]


def test_checkpoint_and_artifact_stay_small() -> None:
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) < MOST_BYTES
