"""Opening a session chooses the kernels of attention, unless somebody else has."""

import os

import pytest

from generation.config import ROOT
from generation.model.session import open_session

MODEL = ROOT / "models" / "demo" / "model.onnx"
TILES = "ORT_GQA_DISABLE_FLASH_ATTENTION"


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("0", "0")])
def test_attention_works_without_tiles_unless_the_environment_says_otherwise(
    given: str | None, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TILES, raising=False)
    if given is not None:
        monkeypatch.setenv(TILES, given)
    open_session(MODEL, 1)

    assert os.environ[TILES] == found
