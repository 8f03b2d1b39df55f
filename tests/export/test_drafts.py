"""The draft table of an artifact: options, measurements, and the command that adds one."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from generation.export import artifact, drafts, sampling
from generation.export.draft_options import draft_lines
from generation.export.drafts import DraftOptions, learn
from generation.export.errors import ExportError
from generation.export.learn_drafts import main
from generation.export.pipeline import export
from generation.export.report import Drafts, Unseen
from generation.model.artifact import DRAFTS, read_config, verify_files
from generation.model.draft_table import DraftTable, open_drafts


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learn from little text, because text of random weights has no patterns to learn."""
    monkeypatch.setattr(sampling, "LENGTH", 24)
    monkeypatch.setattr(drafts, "UNSEEN", 2)


@pytest.fixture
def folder(artifacts: dict[str, Path], tmp_path: Path) -> Path:
    """Return a copy of an int8 artifact without a draft table."""
    shutil.copytree(artifacts["int8"], tmp_path / "model")
    return tmp_path / "model"


def test_what_is_measured_is_of_text_that_was_not_learned(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    made = learn(folder, tmp_path / DRAFTS, DraftOptions(tokens=480, size=4000), said.append)
    assert (made.tokens, made.text) == (480, None)
    assert made.size == (tmp_path / DRAFTS).stat().st_size <= 4000
    assert made.contexts == len(DraftTable(tmp_path / DRAFTS, 400))
    assert [one.temperature for one in made.unseen] == [1.0, 0.8, 0.0]
    for one in made.unseen:
        assert one.tokens == 2 * (24 - drafts.OPENING)
        assert 0 <= one.accepted <= one.drafted
        assert 0 <= one.guessed <= 1
        assert 1 <= one.without_table <= one.tokens_per_step <= 1 + drafts.LONGEST
    assert said[0].startswith("sampling 480 tokens of text")


def test_a_text_like_what_is_generated_gives_better_guesses_than_none(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("once upon a time " * 50)
    made = learn(folder, tmp_path / DRAFTS, DraftOptions(tokens=100, text=text))
    assert (made.tokens, made.text) == (96, "text.txt"), "four pieces of 24"
    assert made.contexts > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DraftOptions(tokens=-1), r"--draft-tokens -1: allowed is 0, for no table, to 16,777,216"),
        (DraftOptions(tokens=1 << 25), "--draft-tokens 33554432"),
        (DraftOptions(size=5), "--draft-size 5: allowed is 1,024 to 2,000,000 bytes"),
        (DraftOptions(size=1 << 22), "--draft-size 4194304"),
        (DraftOptions(text=Path("none.txt")), r"--draft-text none\.txt: there is no such file"),
    ],
    ids=str,
)
def test_options_out_of_range_are_named(options: DraftOptions, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        options.check()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe"], ids=["empty", "not UTF-8"])
def test_a_text_that_cannot_be_learned_from_is_refused(folder: Path, tmp_path: Path, content: bytes) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(content)
    with pytest.raises(ExportError, match=r"--draft-text .*text\.txt"):
        learn(folder, tmp_path / DRAFTS, DraftOptions(tokens=100, text=text))


def test_an_export_writes_the_table_and_reports_it(checkpoint_folder: Path, tmp_path: Path) -> None:
    report = export(
        str(checkpoint_folder), tmp_path / "out", "int8", drafts=DraftOptions(tokens=240, size=2000), allow_loss=True
    )
    config = read_config(tmp_path / "out")
    verify_files(tmp_path / "out", config)
    assert open_drafts(tmp_path / "out", config) is not None
    assert report.drafts is not None
    assert json.loads((tmp_path / "out" / "report.json").read_text())["drafts"] == asdict(report.drafts)
    again = export(str(checkpoint_folder), tmp_path / "out", "int8", allow_loss=True)
    assert again.drafts is None
    assert not (tmp_path / "out" / DRAFTS).exists(), "the table of the artifact before"


def test_a_float32_cache_gets_no_table(checkpoint_folder: Path, tmp_path: Path) -> None:
    report = export(str(checkpoint_folder), tmp_path / "out", "fp32", drafts=DraftOptions(tokens=240))
    assert report.drafts is None
    assert not (tmp_path / "out" / DRAFTS).exists()


def test_the_command_adds_replaces_and_removes_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_config(folder)
    assert main([str(folder), "--draft-tokens", "240", "--draft-size", "2000"]) == 0
    assert "0.00 MB, 240 tokens of its own text" in capsys.readouterr().out
    config = read_config(folder)
    verify_files(folder, config)
    assert config.files == before.files | {DRAFTS: config.files[DRAFTS]}
    assert json.loads((folder / "report.json").read_text())["drafts"]["tokens"] == 240
    assert main([str(folder), "--draft-tokens", "480", "--draft-size", "2000"]) == 0
    verify_files(folder, read_config(folder))
    assert json.loads((folder / "report.json").read_text())["drafts"]["tokens"] == 480
    assert main([str(folder), "--draft-tokens", "0"]) == 0
    assert read_config(folder) == before
    assert sorted(one.name for one in folder.iterdir()) == sorted([*before.files, "config.json", "report.json"])
    assert json.loads((folder / "report.json").read_text())["drafts"] is None


def test_killed_between_files_the_artifact_is_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main([str(folder), "--draft-tokens", "240"])

    class KilledError(BaseException):
        pass

    def kill(_: Path) -> None:
        raise KilledError

    monkeypatch.setattr(artifact, "list_drafts", kill)
    with pytest.raises(KilledError):
        main([str(folder), "--draft-tokens", "480"])
    config = read_config(folder)
    verify_files(folder, config)
    assert DRAFTS not in config.files


@pytest.mark.parametrize("what", ["fp32", "nothing"])
def test_the_command_says_what_it_cannot_do(
    artifacts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    folder, message = {
        "fp32": (artifacts["fp32"], "has a float32 cache: the server drafts only with an int8 cache"),
        "nothing": (tmp_path / "none", "config.json is missing"),
    }[what]
    assert main([str(folder)]) == 2
    assert message in capsys.readouterr().err


def test_the_summary_has_a_line_for_each_temperature() -> None:
    found = Drafts(262_144, None, 62_000, 500_000, 160.4, [Unseen(1.0, 4800, 0.351, 10533, 1564, 1.519, 1.05)])
    assert draft_lines(found) == [
        "  draft table               0.50 MB, 262,144 tokens of its own text, 160 s",
        "    on unseen text          tokens guessed, drafts accepted, tokens a step",
        "    temperature 1.0         35%, 1,564 of 10,533, 1.52 (1.05 without)",
    ]
    assert draft_lines(None) == ["  draft table               none"]
