"""Faults of what the server stands on: the artifact's parts, onnxruntime, the clock."""

import asyncio
import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from generation.config import Settings
from generation.engine.engine import Engine
from generation.engine.request import GenerationRequest, Update
from generation.engine.scheduler import Limits
from generation.engine.stream import TokenStream
from generation.errors import GenerationFailedError
from generation.export.artifact import list_drafts
from generation.model.artifact import CHECKED_FILES, DRAFTS
from generation.model.draft_table import MAGIC
from generation.sampling.params import SamplingParams
from generation.service import Loaded, Service, State
from tests.support.fakes import ByteCodec, FakeModel, request, texts

GREEDY = SamplingParams(do_sample=False, ignore_eos=True)


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A copy of the bundled artifact."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path in Settings().model_dir.glob("*.*"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def loaded() -> Iterator[Loaded]:
    service = Service(Settings()).start()
    service.wait(60)
    yield service.loaded()
    service.stop()


def _seal(folder: Path, **changes: object) -> None:
    """Write checksums that fit, as somebody would who puts an artifact together by hand."""
    config = json.loads((folder / "config.json").read_text())
    config["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in CHECKED_FILES}
    (folder / "config.json").write_text(json.dumps(config | changes))


def _reason(folder: Path) -> str:
    """Return why an artifact is not served."""
    service = Service(Settings(model_dir=folder)).start()
    assert service.wait(60) is State.FAILED
    reason = service.reason or ""
    assert "export the model again" in reason
    assert "unexpected" not in reason
    return reason


def _replace(folder: Path, old: Path) -> None:
    """Put files of another model where the artifact was, and delete those that were there."""
    folder.rename(old)
    folder.mkdir()
    for path in old.iterdir():
        (folder / path.name).write_bytes(b"of another model")
        path.unlink()


async def test_an_artifact_may_be_replaced_by_rename_under_a_running_server(demo: Path, tmp_path: Path) -> None:
    service = Service(Settings(model_dir=demo)).start()
    service.wait(60)
    engine = service.loaded().engine
    asked = GenerationRequest((5, 6, 7), 20, sampling=GREEDY)
    before = [item async for item in engine.submit(asked)]
    _replace(demo, tmp_path / "old")
    assert texts([item async for item in engine.submit(asked)]) == texts(before)
    await asyncio.to_thread(service.stop)


@pytest.mark.parametrize("name", CHECKED_FILES)
def test_a_file_without_a_checksum_is_refused(demo: Path, name: str) -> None:
    config = json.loads((demo / "config.json").read_text())
    del config["files"][name]
    (demo / "config.json").write_text(json.dumps(config))
    assert f"no checksum of {name}" in _reason(demo)


@pytest.mark.parametrize("damage", ["missing", "flipped", "truncated"])
def test_a_damaged_draft_table_is_refused(demo: Path, damage: str) -> None:
    table = demo / DRAFTS
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content[:1000] if damage == "truncated" else content)
    if damage == "missing":
        table.unlink()
    assert f"{DRAFTS} " in _reason(demo)


async def test_a_draft_table_of_another_model_changes_no_answer(demo: Path) -> None:
    answers = []
    random = np.random.default_rng(0)
    entries = np.sort(random.integers(0, 1 << 63, 60_000, dtype=np.uint64))
    for content in (None, MAGIC + entries.tobytes(), (demo / DRAFTS).read_bytes()):
        _seal(demo)
        if content is not None:
            (demo / DRAFTS).write_bytes(content)
            list_drafts(demo)
        service = Service(Settings(model_dir=demo)).start()
        service.wait(60)
        loaded = service.loaded()
        asked = GenerationRequest((5, 6, 7), 60, 3, sampling=SamplingParams(seed=1, ignore_eos=True))
        items = [item async for item in loaded.engine.submit(asked)]
        answers.append((loaded.fingerprint, texts(items, 3)))
        await asyncio.to_thread(service.stop)
    assert answers == [answers[0]] * 3


def test_a_tokenizer_of_another_model_is_refused(demo: Path, artifacts: dict[str, Path]) -> None:
    shutil.copy(artifacts["int8"] / "tokenizer.json", demo)
    _seal(demo)
    assert "tokens, not 4096: it is another model's" in _reason(demo)


def test_a_graph_of_another_model_is_refused(demo: Path, artifacts: dict[str, Path]) -> None:
    for name in ("model.onnx", "model.onnx.data"):
        shutil.copy(artifacts["int8"] / name, demo)
    _seal(demo)
    assert "does not begin with the embedding table of config.json" in _reason(demo)


@pytest.mark.parametrize("change", [{"layers": 5}, {"cache": "float32"}, {"precision": "int4"}, {"precision": "fp32"}])
def test_a_config_of_another_graph_is_refused(demo: Path, change: dict[str, object]) -> None:
    _seal(demo, **change)
    assert "model.onnx and config.json belong to different models" in _reason(demo)


@pytest.mark.parametrize(
    "change",
    [{"layers": 1}, {"layers": 99}, {"heads": 1}, {"head_size": 8}, {"cache": "float32"}, {"cache": "int3"}],
    ids=str,
)
def test_a_config_that_does_not_fit_the_graph_is_refused(demo: Path, change: dict[str, object]) -> None:
    _seal(demo, **change)
    assert "config.json" in _reason(demo)


@pytest.mark.parametrize("context", [100, 513, 1024])
def test_a_context_that_is_not_the_graphs_is_refused(demo: Path, context: int) -> None:
    """Too long, and the graph has no such positions; too short, and every step would fail on the cache's size."""
    _seal(demo, context=context)
    assert f"context of {context} tokens" in _reason(demo)


@pytest.mark.parametrize("context", [10**12, 10**30])
def test_a_context_that_no_model_has_is_refused(demo: Path, context: int) -> None:
    _seal(demo, context=context)
    assert f"'context' is {context}, more than any model has" in _reason(demo)


def test_a_cache_that_no_memory_holds_is_refused(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.model.artifact.LARGEST", 10**30)
    _seal(demo, context=10**12)
    assert re.search(rf"no memory for a cache of \d+ rows of {10**12} tokens", _reason(demo))


async def _text(stream: TokenStream) -> str:
    return "".join([item.text async for item in stream if isinstance(item, Update)])


async def test_an_error_of_onnxruntime_ends_its_own_request_only(loaded: Loaded) -> None:
    """The embedding of a token that does not exist is a real error of the session's run, in the middle of a batch."""
    engine = loaded.engine
    alone = await _text(engine.submit(GenerationRequest((1, 2, 3), 60, sampling=GREEDY)))
    running = engine.submit(GenerationRequest((1, 2, 3), 60, sampling=GREEDY))
    first = await anext(running)
    broken = engine.submit(GenerationRequest((1, 1 << 40), 5, sampling=GREEDY))
    with pytest.raises(GenerationFailedError, match="computing the prompt failed"):
        await _text(broken)
    assert isinstance(first, Update)
    assert first.text + await _text(running) == alone
    assert await _text(engine.submit(GenerationRequest((1, 2, 3), 60, sampling=GREEDY))) == alone


async def test_an_error_of_onnxruntime_in_a_decode_step_leaves_a_working_engine(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded.engine._core._model
    decode, seen = model.decode, []

    def failing(*arguments: object) -> object:
        seen.append(1)
        if len(seen) == 3:
            raise ort.capi.onnxruntime_pybind11_state.Fail("[ONNXRuntimeError] : 1 : FAIL")
        return decode(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "decode", failing)
    with pytest.raises(GenerationFailedError, match="a decode step failed"):
        await _text(loaded.engine.submit(GenerationRequest((1, 2, 3), 60, choices=16, sampling=GREEDY)))
    # It needs every row.
    assert await _text(loaded.engine.submit(GenerationRequest((1, 2, 3), 5, choices=16, sampling=GREEDY)))


@pytest.mark.parametrize("jump_s", [-1e9, 1e9])
async def test_a_clock_that_jumps_ends_nothing_early_and_nothing_late(
    monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    """Deadlines are on the monotonic clock: a correction of the time of day in mid-run changes nothing."""
    engine = Engine(FakeModel(), ByteCodec(), Limits(rows=4, staging=2, tokens=4000, chunk=8))
    engine.start()
    try:
        asked = request("once", 30, ignore_eos=True, timeout_s=60)
        expected = texts([item async for item in engine.submit(asked)])
        stream = engine.submit(asked)
        first = await anext(stream)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + jump_s)
        assert texts([first, *[item async for item in stream]]) == expected
        # And what has no time left ends, wherever the clock on the wall stands.
        endless = engine.submit(request("once", 900, ignore_eos=True, timeout_s=0.05))
        assert [item async for item in endless if isinstance(item, Update)][-1].finish_reason == "timeout"
    finally:
        engine.stop()
