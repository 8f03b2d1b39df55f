import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from generation.export.checkpoint import load
from generation.export.hub import Folder
from generation.export.pipeline import export
from generation.export.train import main
from tests.support.checkpoints import VOCABULARY

# What is learnt in a dozen steps: one sentence, with a word that differs.
WORDS = ("cat", "dog", "bird", "boy", "girl", "ball", "tree", "star", "boat", "fish")
SMALL = ["--context", "32", "--batch", "2", "--epochs", "1"]
Run = tuple[dict[str, Any], Path]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    stories = [f"Once upon a time there was a little {WORDS[i % 10]} who was happy." for i in range(60)]
    path.write_text("\n<|endoftext|>\n".join(stories), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tuned(text: Path, checkpoint_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    output = tmp_path_factory.mktemp("tuned") / "checkpoint"
    arguments = [str(text), str(output), "--from", str(checkpoint_folder), "--adam-rate", "0.003", *SMALL]
    assert main(arguments) == 0
    return json.loads((output / "training.json").read_text()), output


def test_fine_tuning_learns_the_text(tuned: Run) -> None:
    scores = tuned[0]["held_out"]

    assert scores["documents"] == 2
    assert scores["bits_per_character"] < 0.8 * scores["bits_per_character_before"]


def test_fine_tuning_keeps_tokenizer_and_shape(tuned: Run, checkpoint_folder: Path) -> None:
    before, after = (load(Folder(path, "x", None)) for path in (checkpoint_folder, tuned[1]))

    assert after.shape == before.shape
    assert after.tokens == before.tokens
    vocabularies = [Tokenizer.from_file(str(p / "tokenizer.json")).get_vocab() for p in (checkpoint_folder, tuned[1])]
    assert vocabularies[0] == vocabularies[1]
    assert after.weights_sha256 != before.weights_sha256


def test_the_record_says_where_it_came_from_and_the_shape_it_had(tuned: Run, checkpoint_folder: Path) -> None:
    record = tuned[0]
    source = load(Folder(checkpoint_folder, "x", None)).weights_sha256

    assert record["from"] == {"model": "small", "revision": None, "weights_sha256": source}
    assert (record["recipe"]["layers"], record["recipe"]["vocabulary"]) == (2, VOCABULARY)
    assert record["recipe"]["muon_rate"] == 0.0
    assert record["training"]["documents"] == 58


def test_the_export_takes_what_fine_tuning_wrote(tuned: Run, tmp_path: Path) -> None:
    report = export(str(tuned[1]), tmp_path / "out", "fp32")

    assert report.greedy.agreement == 1.0


def test_training_from_scratch_writes_a_checkpoint(text: Path, tmp_path: Path) -> None:
    shape = ["--layers", "1", "--width", "16", "--heads", "2", "--vocabulary", "300"]
    assert main([str(text), str(tmp_path / "new"), *SMALL, *shape]) == 0

    record = json.loads((tmp_path / "new" / "training.json").read_text())
    assert load(Folder(tmp_path / "new", "new", None)).shape.layers == 1
    assert record["held_out"]["bits_per_character"] < record["held_out"]["bits_per_character_before"]
    assert "from" not in record


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("256", "and a batch of 8 windows of 256 needs 2304: give more text"),
        ("512", "--context 512 is more than the checkpoint's 256"),
    ],
)
def test_what_cannot_be_trained_is_one_line_and_status_2(
    tuned: Run, text: Path, capsys: pytest.CaptureFixture[str], context: str, message: str
) -> None:
    output = tuned[1].with_name("none")
    assert main([str(text), str(output), "--from", str(tuned[1]), "--context", context]) == 2

    assert message in capsys.readouterr().err
    assert not output.exists()


def test_a_checkpoint_is_not_overwritten_by_what_comes_of_it(
    text: Path, checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(text), str(checkpoint_folder), "--from", str(checkpoint_folder)]) == 2
    assert "choose another folder" in capsys.readouterr().err


def test_a_text_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.txt"), str(tmp_path / "out")]) == 2
    assert "none.txt" in capsys.readouterr().err


def test_the_shape_is_the_checkpoints_to_say(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(text), str(tmp_path), "--from", "x", "--layers", "3"])

    assert ended.value.code == 2
    assert "--layers: with --from the checkpoint decides" in capsys.readouterr().err
