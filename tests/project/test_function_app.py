"""What can be said of function_app.py and its settings files without a host: the traps, and that nothing raises."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response, StreamingResponse

from generation.api.exchange import LIMIT_S
from generation.config import ROOT, Settings
from tests.support.traps import problems

HOST_JSON = ROOT / "host.json"
NO_BYTE_S = 230  # seconds without a byte after which the load balancer gives up


@pytest.fixture(scope="module")
def function_app() -> Iterator[Any]:
    """The module as the worker imports it, in a copy of its own."""
    spec = importlib.util.spec_from_file_location("function_app_under_test", ROOT / "function_app.py")
    if spec is None or spec.loader is None:
        raise ImportError
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.service.wait()
    module.service.stop()


@pytest.fixture(scope="module")
def functions(function_app: Any) -> list[Any]:
    """The app's functions."""
    return list(function_app.app.get_functions())


def _host_json(folder: Path, prefix: str = "api") -> Path:
    path = folder / "host.json"
    path.write_text(json.dumps({"extensions": {"http": {"routePrefix": prefix}}}))
    return path


def test_azure_would_stumble_over_nothing(functions: list[Any]) -> None:
    assert problems(functions, HOST_JSON) == []


def test_wrong_signatures_are_found(tmp_path: Path) -> None:
    app = func.FunctionApp()

    @app.route("union", methods=["GET"])
    async def union(req: Request) -> JSONResponse | StreamingResponse:
        return JSONResponse({})

    @app.route("classic", methods=["GET"])
    async def classic(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse()

    @app.route("blocking", methods=["GET"])
    def blocking(req: Request) -> Response:
        return Response()

    @app.route("injected", methods=["GET"])
    async def injected(req: Request, limit: int, context: func.Context) -> Response:
        return Response()

    found = [re.split("[:,]", one)[:2] for one in problems(app.get_functions(), _host_json(tmp_path))]
    assert found == [
        ["union", " the return annotation must be one response class of the http extension"],
        ["classic", " the return annotation must be one response class of the http extension"],
        ["classic", " req must be annotated with the http extension's Request"],
        ["blocking", " not async"],
        ["injected", " the parameter limit is not bound to anything"],
    ]


def test_a_function_that_takes_the_route_of_another_is_found(tmp_path: Path) -> None:
    app = func.FunctionApp()

    @app.route("things/{*rest}", methods=["GET"])
    async def a_catch_all(req: Request) -> Response:
        return Response()

    @app.route("things/{name}", methods=["GET"])
    async def named(req: Request) -> Response:
        return Response()

    @app.route("things/{name}", methods=["POST"])
    async def posted(req: Request) -> Response:
        return Response()

    assert problems(app.get_functions(), _host_json(tmp_path)) == [
        "named: a_catch_all sorts before it and takes GET /api/things/any"
    ]


def test_a_function_on_a_path_of_the_platform_is_found(tmp_path: Path) -> None:
    app = func.FunctionApp()

    @app.route("{*path}", methods=["GET"])
    async def everything(req: Request) -> Response:
        return Response()

    functions = app.get_functions()
    assert problems(functions, _host_json(tmp_path)) == []
    found = problems(functions, _host_json(tmp_path, prefix=""))
    assert "everything: takes /docs, which the platform keeps for itself" in found


class _Broken:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("inner workings")


async def test_no_handler_raises_whatever_breaks(
    function_app: Any, functions: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function_app, "service", _Broken())
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "path_params": {}}
    for function in functions:
        if function.get_trigger().get_binding_name() != "httpTrigger":
            continue
        response = await function.get_user_function()(Request(scope))
        if function.get_function_name() in {"playground", "playground_chat", "version"}:  # they need no service
            assert response.status_code == 200
            continue
        assert response.status_code >= 400
        error = json.loads(response.body)["error"]
        assert error if function.get_function_name() == "hf" else error["message"]
        assert b"inner workings" not in response.body


def test_only_routes_that_cost_nothing_are_open(functions: list[Any]) -> None:
    triggers = {one.get_function_name(): one.get_trigger() for one in functions}
    levels = {name: trigger.auth_level.name for name, trigger in triggers.items() if hasattr(trigger, "auth_level")}
    open_to_all = {name for name, level in levels.items() if level == "ANONYMOUS"}
    assert open_to_all <= {"health", "ready", "openapi", "playground", "playground_chat", "reference", "version"}
    assert {"generate", "generate_path", "completions"} <= levels.keys() - open_to_all


def test_serving_imports_nothing_that_builds_models() -> None:
    program = (
        "import sys, function_app; function_app.service.wait(); print(*{name.split('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "optimum", "onnx", "huggingface_hub"} & set(loaded.stdout.split())


def test_a_start_does_not_build_the_response_models_of_the_document() -> None:
    # A process that ends while onnxruntime loads the model is aborted, so it waits for that.
    program = "import sys, function_app; print('generation.api.responses' in sys.modules); function_app.service.wait()"
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


def _settings(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _settings(inner, f"{path}.{name}" if path else name)
    else:
        yield f"| `{path}` | `{value if isinstance(value, str) else json.dumps(value)}` |"


def test_every_setting_of_the_host_is_explained() -> None:
    page = (ROOT / "docs" / "functions.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `[\w.]+` \| `[^`]*` \|", page.split("## host.json")[1].split("\n## ")[0], re.MULTILINE)
    assert table == list(_settings(json.loads(HOST_JSON.read_text())))


def _highest(name: str) -> float:
    return float(next(one.metadata["high"] for one in fields(Settings) if one.name == name))


def test_every_answer_ends_before_the_platform_ends_it() -> None:
    assert _highest("timeout_s") < LIMIT_S <= NO_BYTE_S
    assert _highest("keep_alive_s") < NO_BYTE_S


def test_the_host_restarts_no_worker_for_a_lost_request() -> None:
    assert json.loads(HOST_JSON.read_text())["functionTimeout"] == "-1"


def test_the_host_starts_without_a_download() -> None:
    assert "extensionBundle" not in json.loads(HOST_JSON.read_text())


def test_the_settings_example_has_what_streaming_and_batching_need() -> None:
    values = json.loads((ROOT / "local.settings.json.example").read_text())["Values"]
    assert values["FUNCTIONS_WORKER_RUNTIME"] == "python"
    assert values["PYTHON_ENABLE_INIT_INDEXING"] == "1"
    assert values["FUNCTIONS_WORKER_PROCESS_COUNT"] == "1"


@pytest.mark.parametrize("folder", [".vscode", ".devcontainer"])
def test_editor_files_are_json(folder: str) -> None:
    files = list((ROOT / folder).glob("*.json"))
    assert files
    for file in files:
        json.loads(file.read_text(encoding="utf-8"))


def test_functions_can_be_read_only_once() -> None:
    app = func.FunctionApp()

    @app.route("once", methods=["GET"])
    async def once(req: Request) -> Response:
        return JSONResponse({})

    app.get_functions()
    with pytest.raises(ValueError, match="unique function name"):
        app.get_functions()
