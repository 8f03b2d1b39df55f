"""What each route answers when the model cannot be loaded: the table in docs/functions.md, tested under the runtime."""

import re
import shutil
from collections.abc import Iterator

import httpx
import pytest

from generation.config import ROOT
from tests.runtime.launch import KEY, Runtime, serve_runtime

PAGE = ROOT / "docs" / "functions.md"
ROW = re.compile(r"^\| `(GET|HEAD|POST) /api(/[^`]*)` \| (\d{3})\b", re.MULTILINE)
BODIES = {
    "/generate": {"prompt": "Once"},
    "/v1/completions": {"prompt": "Once"},
    "/v1/chat/completions": {"messages": []},
    "/hf": {"inputs": "Once"},
    "/tokenize": {"prompt": "Once"},
    "/detokenize": {"tokens": [0]},
}


def _table() -> list[tuple[str, str, int]]:
    section = PAGE.read_text(encoding="utf-8").split("## When the model cannot be loaded")[1].split("\n## ")[0]
    return [(method, path, int(status)) for method, path, status in ROW.findall(section)]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """The app with an artifact of which one byte has changed."""
    folder = tmp_path_factory.mktemp("damaged")
    model = folder / "model"
    model.mkdir()
    for path in (ROOT / "models" / "demo").glob("*.*"):
        shutil.copy(path, model)
    weights = model / "model.onnx.data"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with serve_runtime(ROOT / "function_app.py", folder / "log.txt", MODEL_DIR=str(model)) as running:
        yield running


def _ask(damaged: Runtime, method: str, path: str) -> httpx.Response:
    url = damaged.url + path.replace("{prompt}", "Once").replace("{model}", "any")
    body = BODIES[path] if method == "POST" else None
    return httpx.request(method, url, json=body, headers={"x-functions-key": KEY}, timeout=30)


@pytest.mark.parametrize(("method", "path", "status"), _table())
def test_a_route_answers_as_the_table_says(damaged: Runtime, method: str, path: str, status: int) -> None:
    answer = _ask(damaged, method, path)
    assert answer.status_code == status
    if status == 503:
        assert "retry-after" not in answer.headers
    if status == 503 and method != "HEAD" and path != "/health":  # its body is that of a process that works
        error = answer.json()["error"]
        assert path == "/hf" or error["code"] == "not_ready"
        assert "model.onnx.data is damaged" in (error if path == "/hf" else error["message"])


def test_the_table_has_every_route(damaged: Runtime) -> None:
    triggers = [one for one in damaged.report["functions"].values() if one["type"] == "httpTrigger"]
    routes = {(method, "/" + one["route"].replace("{*", "{")) for one in triggers for method in one["methods"]}
    assert {(method, path) for method, path, _ in _table()} == routes


def test_health_gives_the_reason(damaged: Runtime) -> None:
    health = _ask(damaged, "GET", "/health").json()
    assert (health["health"], health["state"]) == ("failed", "failed")
    assert "model.onnx.data is damaged" in health["reason"]


def test_without_a_key_nothing_is_told(damaged: Runtime) -> None:
    answer = httpx.get(f"{damaged.url}/v1/models")
    assert (answer.status_code, answer.content) == (401, b"")
