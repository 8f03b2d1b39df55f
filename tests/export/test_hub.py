from pathlib import Path
from typing import Any

import pytest
import requests
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from generation.export import hub
from generation.export.defaults import DEFAULT_MODEL
from generation.export.errors import ExportError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the hub client was asked for; it answers with a folder named by a commit."""
    calls: dict[str, Any] = {}

    def answer(model: str, **options: Any) -> str:
        calls.update(options, model=model)
        return str(tmp_path / "c0ffee")

    monkeypatch.setattr(hub, "snapshot_download", answer)
    return calls


def fail_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def answer(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(hub, "snapshot_download", answer)


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path, asked: dict[str, Any]) -> None:
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
def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(name: str, asked: dict[str, Any]) -> None:
    with pytest.raises(ExportError, match="no folder"):
        hub.find(name)
    assert not asked


def test_the_default_model_is_pinned_to_a_commit(asked: dict[str, Any]) -> None:
    hub.find(DEFAULT_MODEL)

    assert len(asked["revision"]) == 40


def test_a_revision_given_goes_before_the_pinned_one(asked: dict[str, Any]) -> None:
    hub.find(DEFAULT_MODEL, "main")

    assert asked["revision"] == "main"


def test_the_commit_found_is_kept(asked: dict[str, Any]) -> None:
    assert hub.find("someone/model").revision == "c0ffee"
    assert asked["revision"] is None


def test_no_pickle_is_downloaded(asked: dict[str, Any]) -> None:
    hub.find("someone/model")

    assert not any(pattern.endswith((".bin", "*", ".pt")) for pattern in asked["allow_patterns"])


@pytest.mark.parametrize(
    "error",
    [LocalEntryNotFoundError("offline"), requests.ConnectionError("refused"), ValueError("not an id")],
    ids=repr,
)
def test_without_network_the_ways_out_are_named(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    fail_with(monkeypatch, error)

    with pytest.raises(
        ExportError, match=r"someone/model at revision v1 could not be had.*local folder.*bundled model"
    ):
        hub.find("someone/model", "v1")


@pytest.mark.parametrize(
    ("kind", "message"),
    [(RepositoryNotFoundError, "no public model someone/model"), (RevisionNotFoundError, "has no revision v1")],
)
def test_what_the_hub_does_not_have_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: type[RepositoryNotFoundError | RevisionNotFoundError], message: str
) -> None:
    fail_with(monkeypatch, kind("404", response=requests.Response()))

    with pytest.raises(ExportError, match=message):
        hub.find("someone/model", "v1")
