import re

import pytest

from benchmarks import guided
from generation.config import ROOT


def test_it_prints_a_row_of_figures_for_each_guide(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(ROOT / "models" / "demo" / "tokenizer.json")
    monkeypatch.setattr("sys.argv", ["guided", path, "--walks", "1", "--limit", "2"])
    monkeypatch.setattr(guided, "GUIDES", guided.GUIDES[:3])
    guided.main()

    rows = re.findall(r"^\| `(.+)` \|(?: +[\d.]+ \|){5}$", capsys.readouterr().out, re.MULTILINE)
    assert rows == [name for name, _, _ in guided.GUIDES]
