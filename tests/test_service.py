"""Loading, states, and what a fresh process imports."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from generation.config import ROOT, Settings
from generation.errors import NotReadyError
from generation.model.artifact import read_config
from generation.model.cache import bytes_per_token
from generation.model.embedding import EmbeddingTable
from generation.service import MEBIBYTE, Loaded, Service, State, load

FORBIDDEN = ("torch", "transformers", "optimum", "onnx", "huggingface_hub", "llguidance")


def test_it_loads_in_the_background_and_becomes_ready() -> None:
    service = Service(Settings())
    with pytest.raises(NotReadyError) as caught:
        service.loaded()
    assert (service.state, caught.value.headers()) == (State.LOADING, {"Retry-After": "1"})
    service.start()
    assert service.wait(60) is State.READY
    assert service.loaded() is service.loaded(), "one model per process"
    service.stop()
    with pytest.raises(NotReadyError):
        service.loaded()
    assert service.state is State.STOPPED


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["missing", "flipped", "truncated"])
def test_a_damaged_artifact_is_refused_with_what_to_do(
    artifacts: dict[str, Path], tmp_path: Path, name: str, damage: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(artifacts["int8"], folder)
    graph = folder / name
    if damage == "missing":
        graph.unlink()
    elif damage == "flipped":
        content = bytearray(graph.read_bytes())
        content[len(content) // 2] ^= 1
        graph.write_bytes(content)
    else:
        graph.write_bytes(graph.read_bytes()[:1000])
    service = Service(Settings(model_dir=folder)).start()
    assert service.wait(60) is State.FAILED
    with pytest.raises(NotReadyError, match="export the model again, or point MODEL_DIR") as caught:
        service.loaded()
    assert caught.value.retry_after_s is None, "trying again does not help"


@pytest.mark.parametrize(("precision", "state"), [("int8", State.READY), ("int8-blocks", State.FAILED)])
def test_blocks_are_refused_where_their_sums_could_saturate(
    artifacts: dict[str, Path], precision: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generation.model.opening.has_exact_int8_products", lambda: False)
    service = Service(Settings(model_dir=artifacts[precision])).start()
    assert service.wait(60) is state
    if state is State.FAILED:
        assert "lacks VNNI; export the model with --precision int8" in (service.reason or "")
    service.stop()


def test_a_process_that_could_not_load_stays_and_says_why(tmp_path: Path) -> None:
    code = f"""
import os
os.environ["MODEL_DIR"] = {str(tmp_path)!r}
import asyncio, json, function_app
from starlette.requests import Request
function_app.service.wait()
handlers = {{one.get_function_name(): one.get_user_function() for one in function_app.app.get_functions()}}
def get(name):
    scope = {{"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "path_params": {{}}}}
    response = asyncio.run(handlers[name](Request(scope)))
    return response.status_code, json.loads(response.body), "retry-after" in response.headers
status, body, _ = get("health")
assert (status, body["health"], body["state"]) == (503, "failed", "failed"), body
assert "no model in" in body["reason"] or "is missing" in body["reason"], body
status, body, again = get("generate_path")
assert (status, body["error"]["code"], again) == (503, "not_ready", False), body
print("ok")
"""
    assert _fresh(code).strip() == "ok"


def test_a_cache_too_small_for_the_model_is_refused() -> None:
    service = Service(Settings(cache_mb=1)).start()
    assert service.wait(60) is State.FAILED
    assert "CACHE_MB=1 leaves no room" in (service.reason or "")


def test_an_engine_that_died_shows_as_failed() -> None:
    service = Service(Settings()).start()
    service.wait(60)
    service.loaded().engine.failure = MemoryError()
    assert service.state is State.FAILED
    with pytest.raises(NotReadyError, match="the engine's thread has ended"):
        service.loaded()


def test_what_nobody_expected_while_loading_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("somewhere inside")

    monkeypatch.setattr("generation.service.load", fail)
    service = Service(Settings()).start()
    assert service.wait(60) is State.FAILED
    assert service.reason == "unexpected ZeroDivisionError while loading; see the log"
    assert "somewhere inside" in caplog.text


def test_the_model_gets_the_rows_of_its_table_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[list[int]] = []
    monkeypatch.setattr(EmbeddingTable, "fetch", lambda _, ids: fetched.append(ids))
    service = Service(Settings()).start()
    assert service.wait(60) is State.READY
    service.stop()
    assert fetched == [[0]]  # the step that checks the context


class StoppableEngine:
    """Notes the grace that it is given."""

    failure = None

    def __init__(self) -> None:
        self.graces: list[float] = []

    def stop(self, grace_s: float = 0.0) -> None:
        self.graces.append(grace_s)


def test_a_stop_while_it_loads_keeps_its_grace_and_stops_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, stopped = StoppableEngine(), threading.Event()

    def load(*_: object) -> Loaded:
        stopped.wait(60)
        return Loaded(read_config(Settings().model_dir), None, engine)  # type: ignore[arg-type]

    monkeypatch.setattr("generation.service.load", load)
    service = Service(Settings()).start()
    service.stop(7.0)
    assert service.state is State.DRAINING
    stopped.set()
    service.wait(60)
    for thread in threading.enumerate():
        if thread.name == "load":
            thread.join(60)
    assert (engine.graces, service.state) == ([7.0], State.STOPPED)


def test_a_stop_after_loading_stops_the_engine_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = StoppableEngine()
    loaded = Loaded(read_config(Settings().model_dir), None, engine)  # type: ignore[arg-type]
    monkeypatch.setattr("generation.service.load", lambda *_: loaded)
    service = Service(Settings()).start()
    service.wait(60)
    service.stop(3.0)
    assert (engine.graces, service.state) == ([3.0], State.STOPPED)


def test_the_settings_reach_the_engine() -> None:
    settings = Settings(
        max_running=3,
        prefill_chunk=32,
        max_waiting=5,
        max_waiting_tokens=77,
        speculate=0,
        prefix_cache_mb=0,
        cache_mb=64,
    )
    loaded = load(settings)
    core = loaded.engine._core
    limits = core.scheduler.limits
    loaded.engine.stop()
    assert (limits.rows, limits.chunk, limits.waiting, limits.waiting_tokens) == (3, 32, 5, 77)
    assert (core._speculation, core._prefix) == (None, None)
    per_token = bytes_per_token(loaded.config.layers, loaded.config.heads, loaded.config.head_size, loaded.config.cache)
    assert 0.8 * 64 * MEBIBYTE < limits.tokens * per_token < 64 * MEBIBYTE


def _fresh(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_serving_imports_nothing_of_the_build_time() -> None:
    code = """
import sys
from function_app import app, service
service.wait()
assert service.state == "ready", service.reason
import asyncio
from generation.engine.request import GenerationRequest
async def run():
    return [item async for item in service.loaded().engine.submit(GenerationRequest((1, 2, 3), 3))]
assert asyncio.run(run())
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    loaded = set(_fresh(code).split())
    assert loaded.isdisjoint(FORBIDDEN)
    assert {"onnxruntime", "tokenizers"} <= loaded


def test_the_session_exists_once_however_often_the_app_is_asked() -> None:
    code = """
import onnxruntime
made = []
original = onnxruntime.InferenceSession
class Counting(original):
    def __init__(self, *args, **kwargs):
        made.append(1)
        super().__init__(*args, **kwargs)
onnxruntime.InferenceSession = Counting
import function_app, importlib
function_app.service.wait()
importlib.import_module("function_app")
for _ in range(3):
    function_app.service.loaded()
print(len(made))
"""
    assert _fresh(code).strip() == "1"


def test_importing_the_app_does_not_wait_for_the_model() -> None:
    code = """
import threading, generation.service as module
gate = threading.Event()
original = module.load
module.load = lambda *given: (gate.wait(), original(*given))[1]
from function_app import service
assert service.state == "loading"
gate.set()
assert service.wait(60) == "ready"
print("ok")
"""
    assert _fresh(code).strip() == "ok"


def test_what_can_wait_is_done_after_the_model_is_ready() -> None:
    service, states, done = Service(Settings()), list[State](), threading.Event()

    def then() -> None:
        states.append(service.state)
        done.set()

    service.start(then)
    assert done.wait(60)
    assert states == [State.READY]
    service.stop()


def test_the_contract_is_not_loaded_before_the_model() -> None:
    code = "import sys, generation.api.contracts; print(*(name for name in sys.modules if 'completions' in name))"
    assert _fresh(code).strip() == ""
