"""One turn, with a worker of a few lines in place of an engine."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.turn import EngineError, Plan, measure, start, watch_others

FAKE = """
import json, os, sys
print("a library says hello")
print(json.dumps({"figures": {"load_s": 0.5}, "versions": {"fake": os.environ["FAKE_VERSION"]}}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["workload"] == "broken":
        sys.exit("it is broken")
    print(json.dumps({"value": asked["seed"], "peak_mib": 10 + asked["seed"]}), flush=True)
"""
COMMAND = [sys.executable, "-c", FAKE]
SETTINGS = {"FAKE_VERSION": "7"}


def test_a_turn_collects_the_start_and_every_repeat() -> None:
    figures, versions = measure(COMMAND, SETTINGS, ["stream", "batch"], Plan(repeats=2, seconds=60), seed=3)

    assert figures.pop("fresh_s")[0] > 0
    # Every repeat has a seed of its own, which the fake gives back.
    assert figures == {"load_s": [0.5], "stream": [3001, 3002], "batch": [3001, 3002], "peak_mib": [3012]}
    assert versions == {"fake": "7"}


def test_ours_samples_from_the_bundled_model() -> None:
    command = [sys.executable, "-m", "benchmarks.worker", "ours", "models/demo"]
    figures, versions = measure(command, {}, ["sampled", "sampled_16"], Plan(repeats=1, most=2), seed=1)

    assert all(figures[name][0] > 0 for name in ("sampled", "sampled_16", "peak_mib", "load_s"))
    assert set(versions) == {"onnxruntime"}


def test_what_others_compute_is_told_from_what_ours_do() -> None:
    spin = [sys.executable, "-c", "import time\nprint(1, flush=True)\nwhile True: time.process_time()"]
    with subprocess.Popen(spin, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.read(1)
            stat = Path(f"/proc/{process.pid}/stat")
            with watch_others() as all_others, watch_others(process.pid) as others:
                until = _ticks(stat) + 20
                while _ticks(stat) < until:
                    pass
        finally:
            process.kill()

    # The process took 0.2 s of the two processors' time.
    assert all_others.others - others.others > 0.05


def _ticks(stat: Path) -> int:
    return int(stat.read_text(encoding="ascii").rpartition(")")[2].split()[11])


def test_repeats_end_when_their_time_is_spent() -> None:
    figures, _ = measure(COMMAND, SETTINGS, ["stream"], Plan(repeats=5, seconds=0), seed=1)

    assert figures["stream"] == [1001]


def test_an_engine_that_fails_is_reported_with_its_last_words() -> None:
    with pytest.raises(EngineError, match="it is broken"):
        measure(COMMAND, SETTINGS, ["broken"], Plan(), seed=1)


def test_an_engine_that_dies_is_reported_with_its_signal() -> None:
    with pytest.raises(EngineError, match="status -9"):
        measure([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], {}, ["stream"], Plan(), seed=1)


def test_an_engine_that_hangs_is_ended(tmp_path: Path) -> None:
    with (
        start([sys.executable, "-c", "import sys; sys.stdin.read()"], {}, limit_s=0.2) as worker,
        pytest.raises(EngineError, match="status -9"),
    ):
        worker.read()
