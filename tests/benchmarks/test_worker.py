"""The worker and its workloads, with an engine of a few lines."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import worker
from benchmarks.engines.base import STORY, WORKLOADS, Prompt, peak_mib
from generation.config import ROOT
from generation.text import loading


class Counting:
    """Remembers what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[int, int, int]] = []
        self.seeds: list[int | None] = []

    def generate(self, prompts: list[Prompt], new: int, seed: int | None = None) -> None:
        self.asked.append((len(prompts), len(prompts[0]), new))
        self.seeds.append(seed)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("stream", (1, 16, 128)),
        ("long", (1, 768, 128)),
        ("four", (4, 16, 64)),
        ("batch", (16, 16, 64)),
        ("bulk", (128, 16, 64)),
        ("first_ms", (1, 512, 1)),
        ("repetitive", (1, 32, 128)),
        ("sampled", (1, 16, 128)),
        ("sampled_16", (16, 16, 64)),
    ],
)
def test_a_workload_asks_for_what_it_says(name: str, asked: tuple[int, int, int]) -> None:
    engine = Counting(Path())

    assert WORKLOADS[name].measure(engine, 1) > 0
    assert engine.asked == [asked]


def test_only_sampled_text_has_a_seed() -> None:
    engine = Counting(Path())
    WORKLOADS["stream"].measure(engine, 7)
    WORKLOADS["sampled"].measure(engine, 7)

    assert engine.seeds == [None, 7]


def test_the_story_is_a_text_of_the_bundled_tokenizer() -> None:
    tokenizer = loading.load(ROOT / "models" / "demo" / "tokenizer.json")

    assert tokenizer.encode("Once upon a time there was a little girl named Lily. She liked to play") == STORY


def test_a_trial_asks_for_less() -> None:
    engine = Counting(Path())
    WORKLOADS["batch"].measure(engine, 1, most=4)

    assert engine.asked == [(16, 16, 4)]


def test_a_seed_always_draws_the_same_prompts() -> None:
    assert WORKLOADS["batch"].prompts(3) == WORKLOADS["batch"].prompts(3)


def test_other_seeds_share_no_beginning_that_an_engine_could_keep() -> None:
    first, second = WORKLOADS["first_ms"].prompts(1)[0], WORKLOADS["first_ms"].prompts(2)[0]

    assert first[0] != second[0]


def test_a_repetitive_prompt_repeats() -> None:
    (prompt,) = WORKLOADS["repetitive"].prompts(1)

    assert prompt[:8] * 4 == prompt


def test_the_peak_is_this_process_s_own() -> None:
    block = bytearray(b"1" * (64 << 20))
    command = [sys.executable, "-c", "from benchmarks.engines.base import peak_mib; print(peak_mib())"]
    child = float(subprocess.run(command, capture_output=True, check=True, cwd=ROOT).stdout)

    assert 1 < child < len(block) / (1 << 20) < peak_mib()


def test_the_worker_reports_its_start_and_each_workload(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Counting] = []

    def engine(folder: Path) -> Counting:
        made.append(Counting(folder))
        return made[0]

    lines = "".join(json.dumps({"workload": name, "seed": 1, "most": None}) + "\n" for name in ("stream", "stream"))
    monkeypatch.setitem(worker.ENGINES, "ours", engine)
    monkeypatch.setattr(sys, "argv", ["worker", "ours", "somewhere"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    monkeypatch.setattr(worker, "SETTLE_S", 0)
    worker.main()

    first, *others = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert made[0].folder == Path("somewhere")
    # The first token, once until the threads have settled, a warm-up, and twice the workload.
    assert made[0].asked == [(1, 16, 1), (1, 16, 128), (1, 16, 2), (1, 16, 128), (1, 16, 128)]
    assert set(first["figures"]) == {"import_s", "load_s", "token_s"}
    assert set(first["versions"]) == {"onnxruntime"}
    assert len(others) == 2
    assert all(one["value"] > 0 and one["peak_mib"] > 0 for one in others)
