"""The hub's client against a stand-in of the hub on this machine, with its faults."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download

from generation.export.defaults import DEFAULT_MODEL, PINNED_FILES, PINNED_REVISIONS
from generation.export.download import download, wanted
from generation.export.errors import ExportError
from tests.support.hub import MAIN, Hub, hub

WEIGHTS = b"weights" * 1000
PINNED = PINNED_REVISIONS[DEFAULT_MODEL]


def point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with hub({"config.json": b"{}", "model.safetensors": WEIGHTS, "README.md": b"# no"}, PINNED) as running:
        point_at(running.url, monkeypatch)
        yield running


def get(model: str, revision: str | None = None) -> tuple[Path, list[str]]:
    said: list[str] = []
    return download(model, revision, said.append), said


def test_a_model_is_downloaded_at_the_commit_of_its_branch(stand_in: Hub) -> None:
    folder, said = get("someone/model")

    assert folder.name == MAIN
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert "downloading someone/model (up to 0 MB" in said[0]


def test_what_was_downloaded_is_there_without_the_hub(stand_in: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = get("someone/model")
    point_at("http://127.0.0.1:9", monkeypatch)
    after, said = get("someone/model")

    assert after == before
    assert said == ["the hub cannot be reached: looking for the model in the local cache"]


def test_without_hub_and_cache_the_ways_out_are_named(stand_in: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at("http://127.0.0.1:9", monkeypatch)

    with pytest.raises(
        ExportError, match=r"someone/model at revision v1 could not be had.*local folder.*bundled model"
    ):
        get("someone/model", "v1")


def test_the_default_model_is_asked_for_at_a_commit(stand_in: Hub) -> None:
    with pytest.raises(ExportError):
        get(DEFAULT_MODEL)

    assert f"/api/models/{DEFAULT_MODEL}/revision/{PINNED}?blobs=True" in stand_in.asked


def test_the_default_model_is_compared_with_a_pinned_checksum(stand_in: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExportError, match=r"model\.safetensors of .* is not the one that this project was made for"):
        get(DEFAULT_MODEL)
    monkeypatch.setitem(PINNED_FILES[DEFAULT_MODEL], "model.safetensors", hashlib.sha256(WEIGHTS).hexdigest())

    assert get(DEFAULT_MODEL)[0].name == PINNED


def test_another_revision_of_the_default_model_is_not_pinned(stand_in: Hub) -> None:
    assert get(DEFAULT_MODEL, "main")[0].name == MAIN


def test_wrong_content_is_refused_and_deleted(stand_in: Hub) -> None:
    for _ in range(2):  # the second time it is downloaded again, and not found in the cache
        with pytest.raises(ExportError, match=r"model\.safetensors of x/corrupt was downloaded with wrong content"):
            get("x/corrupt")


def test_content_that_changed_in_the_cache_is_refused(stand_in: Hub) -> None:
    folder, _ = get("someone/model")
    (folder / "config.json").resolve().write_text("[]")

    with pytest.raises(ExportError, match=r"config\.json of someone/model .* wrong content"):
        get("someone/model")
    assert (get("someone/model")[0] / "config.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("x/missing", "no public model x/missing.*no folder of that name.*log in"),
        ("x/gated", "x/gated is gated: accept its terms"),
        ("x/disabled", "disabled the model x/disabled: choose another"),
        ("x/throttled", r"answered 429 for x/throttled: too many requests\. Wait"),
        ("x/broken", r"answered 500 for x/broken: it is out of order\. Try again later"),
        ("x/busy", r"answered 503 for x/busy: it is out of order\. Try again later"),
        ("x/page", "not JSON: a proxy or a login page"),
        ("x/cut", r"the download of x/cut broke off: try again\. The cause: .*IncompleteRead"),
        ("x/short", r"the download of x/short broke off: try again\. The cause: Consistency check failed"),
        ("x/anonymous", r"the download of x/anonymous broke off: try again\. The cause: "),
        ("not an id", "could not be downloaded from the hub: Repo id must"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(stand_in: Hub, model: str, message: str) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        get(model)

    assert "\n" not in str(caught.value)


def test_a_hub_that_says_nothing_is_not_waited_for(stand_in: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.1)

    with pytest.raises(ExportError, match=r"x/silent could not be had: the hub .* cannot be reached"):
        get("x/silent")


def test_a_cache_that_cannot_be_written_is_named(stand_in: Hub, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()

    with pytest.raises(ExportError, match=rf"someone/model cannot be written to {tmp_path}/cache: "):
        get("someone/model")


def test_a_revision_that_is_not_there_is_named(stand_in: Hub) -> None:
    with pytest.raises(ExportError, match="the hub's model someone/model has no revision v7"):
        get("someone/model", "v7")


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["model.safetensors", "pytorch_model.bin", "tf_model.h5"], ["model.safetensors"]),
        (["pytorch_model.bin", "flax_model.msgpack"], ["pytorch_model.bin"]),
        (
            ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "pytorch_model.bin"],
            ["model.safetensors.index.json", "model-00001-of-00002.safetensors"],
        ),
        (["adapter_model.safetensors", "adapter_config.json"], ["adapter_config.json", "adapter_model.safetensors"]),
        (["onnx/model.onnx", "modeling_x.py", "training_args.bin"], []),
        (
            ["vocab.txt", "spiece.model", "generation_config.json"],
            ["vocab.txt", "spiece.model", "generation_config.json"],
        ),
    ],
    ids=str,
)
def test_only_what_is_needed_is_downloaded(there: list[str], expected: list[str]) -> None:
    assert wanted(there) == expected
