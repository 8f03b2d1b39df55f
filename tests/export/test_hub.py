"""Where a checkpoint is looked for. What the hub answers is in test_download.py."""

import json
from pathlib import Path
from typing import Any

import pytest

from generation.export import hub
from generation.export.errors import ExportError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str | None]]:
    """What was asked of the hub; it answers with a folder named by a commit."""
    calls: list[tuple[str, str | None]] = []

    def answer(model: str, revision: str | None, _: object) -> Path:
        calls.append((model, revision))
        folder = tmp_path / model / "c0ffee"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    monkeypatch.setattr(hub, "download", answer)
    return calls


def adapter(folder: Path, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path, asked: list[Any]) -> None:
    assert hub.find(str(tmp_path)) == hub.Folder(tmp_path, tmp_path.name, None)
    assert not asked


def test_a_local_folder_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no revisions"):
        hub.find(str(tmp_path), "main")


def test_a_file_is_not_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "weights").touch()

    with pytest.raises(ExportError, match="is a file"):
        hub.find(str(tmp_path / "weights"))


@pytest.mark.parametrize("name", ["./missing", "/missing/model", "a/b/c", "~/missing"])
def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(name: str, asked: list[Any]) -> None:
    with pytest.raises(ExportError, match="no folder"):
        hub.find(name)
    assert not asked


def test_the_commit_found_is_kept(asked: list[Any]) -> None:
    assert hub.find("someone/model", "v1").revision == "c0ffee"
    assert asked == [("someone/model", "v1")]


def test_an_adapter_leads_to_the_model_that_it_was_trained_on(tmp_path: Path, asked: list[Any]) -> None:
    folder = adapter(tmp_path / "lora", base_model_name_or_path="someone/base", revision="abc")
    found = hub.find(str(folder))

    assert asked == [("someone/base", "abc")]
    assert (found.path.name, found.name, found.revision, found.adapter) == ("c0ffee", "lora", "c0ffee", folder)


def test_an_adapter_given_apart_is_merged_into_the_model(tmp_path: Path, asked: list[Any]) -> None:
    folder = adapter(tmp_path / "lora", base_model_name_or_path="never/asked")
    found = hub.find("someone/model", adapter=str(folder))

    assert asked == [("someone/model", None)]
    assert (found.name, found.adapter) == ("lora", folder)


def test_a_folder_without_an_adapter_is_none(tmp_path: Path, asked: list[Any]) -> None:
    with pytest.raises(ExportError, match=r"is not an adapter: it has no adapter_config\.json"):
        hub.find("someone/model", adapter=str(tmp_path))


@pytest.mark.parametrize("config", [{}, {"base_model_name_or_path": ""}, {"base_model_name_or_path": 3}], ids=str)
def test_an_adapter_that_names_no_model(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(ExportError, match=r"names no base model.*--adapter"):
        hub.find(str(adapter(tmp_path / "lora", **config)))


def test_weights_with_an_adapter_of_another_model_are_not_clear(tmp_path: Path, asked: list[Any]) -> None:
    folder = adapter(tmp_path / "both", base_model_name_or_path="someone/base")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()

    with pytest.raises(ExportError, match=r"an adapter of someone/base, and it is not clear which is meant"):
        hub.find(str(folder))
    assert not asked


def test_weights_with_an_adapter_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "both"
    adapter(folder, base_model_name_or_path=str(folder))
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()

    assert hub.find(str(folder)) == hub.Folder(folder, "both", None, folder)
