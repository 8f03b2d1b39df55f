"""The benchmark of bulk work runs and prints its results; the tests do not judge the speeds."""

import re
import subprocess
import sys

import pytest

from generation.config import ROOT


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.bulk", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(("bound", "status"), [("0", 0), ("1000", 1)])
def test_pairs_are_measured_and_held_to_the_bound(bound: str, status: int) -> None:
    call = f"throughput models/demo --pairs 2 --count 4 --new-tokens 4 --bound {bound}"
    said = _run(*call.split())
    assert said.returncode == status, said.stderr
    pairs = re.findall(r"^\| \d \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| \d+% \|$", said.stdout, re.MULTILINE)
    assert len(pairs) == 2
    for alone, batch, ratio, processor in pairs:
        assert float(ratio) == pytest.approx(int(batch) / int(alone), rel=0.05)
        assert float(processor) > 0


def test_memory_is_sampled_over_a_whole_run() -> None:
    said = _run("memory", "models/demo", "--lines", "300", "--bound", "100")
    assert said.returncode == 0, said.stdout + said.stderr
    assert "300 of 300 lines" in said.stdout
    assert re.search(r"^\| \d+ \| \d+\.\d \|$", said.stdout, re.MULTILINE)
