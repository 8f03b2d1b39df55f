"""The embedded host: what it reads from the app, how it routes, how it starts and stops."""

import json
import signal
import socket
import threading
from pathlib import Path

import azure.functions as func
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from benchmarks.server import Served, serve
from generation.cli.host import LocalHost, Server, bind, with_cors


@pytest.fixture
def app() -> func.FunctionApp:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

    @app.route("things/{*rest}", methods=["GET"])
    async def z_catch_all(req: Request) -> Response:
        return PlainTextResponse(f"rest={req.path_params.get('rest')}")

    @app.route("things/one", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
    async def a_literal(req: Request) -> Response:
        return PlainTextResponse("literal")

    @app.route("items/{name}", methods=["POST"])
    async def item(req: Request) -> Response:
        return PlainTextResponse(req.path_params["name"])

    @app.route(methods=["GET"])
    async def unnamed(req: Request) -> Response:
        return PlainTextResponse("unnamed")

    return app


def _host_json(tmp_path: Path, prefix: str | None = None) -> Path:
    path = tmp_path / "host.json"
    path.write_text(json.dumps({"extensions": {"http": {"routePrefix": prefix}}} if prefix is not None else {}))
    return path


def _client(app: func.FunctionApp, host_json: Path, key: str | None = None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(LocalHost(app, host_json, key))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_functions_are_matched_in_the_order_of_their_names(app: func.FunctionApp, tmp_path: Path) -> None:
    async with _client(app, _host_json(tmp_path)) as client:
        assert (await client.get("/api/things/one")).text == "literal"
        assert (await client.get("/api/things/two/three")).text == "rest=two/three"
        assert (await client.get("/api/things")).text == "rest=None"


async def test_methods_and_unknown_paths_are_refused_in_json(app: func.FunctionApp, tmp_path: Path) -> None:
    async with _client(app, _host_json(tmp_path)) as client:
        assert (await client.post("/api/items/a")).text == "a"
        for method, path in (("GET", "/api/items/a"), ("HEAD", "/api/things/one"), ("GET", "/"), ("GET", "/api/docs")):
            response = await client.request(method, path)
            assert response.status_code == 404
        assert (await client.get("/nothing")).json()["error"]["code"] == "not_found"


async def test_what_the_host_refuses_has_a_request_id(app: func.FunctionApp, tmp_path: Path) -> None:
    async with _client(app, _host_json(tmp_path), "secret") as client:
        for path, status in (("/nothing", 404), ("/api/unnamed", 401)):
            assert len((await client.get(path)).headers["x-request-id"]) == 32
            response = await client.get(path, headers={"x-request-id": "mine"})
            assert (response.status_code, response.headers["x-request-id"]) == (status, "mine")


async def test_pages_of_other_origins_may_call_where_the_setting_allows_it(
    app: func.FunctionApp, tmp_path: Path
) -> None:
    host = LocalHost(app, _host_json(tmp_path), "secret")
    asks = {"origin": "https://a.example", "access-control-request-method": "GET"}
    for origins, allowed in (("", None), ("https://b.example, https://a.example", "https://a.example")):
        transport = httpx.ASGITransport(with_cors(host, origins))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            plain = await client.get("/api/things/one", headers={"origin": "https://a.example"})
            ahead = await client.options("/api/unnamed", headers=asks | {"access-control-request-headers": "x-a"})
        assert plain.headers.get("access-control-allow-origin") == allowed
        assert ahead.headers.get("access-control-allow-origin") == allowed
        assert ahead.status_code == (404 if allowed is None else 200)


async def test_the_prefix_comes_from_host_json(app: func.FunctionApp, tmp_path: Path) -> None:
    async with _client(app, _host_json(tmp_path, "v9")) as client:
        assert (await client.get("/v9/unnamed")).text == "unnamed"
        assert (await client.get("/api/unnamed")).status_code == 404


async def test_a_key_is_asked_for_where_the_platform_asks(app: func.FunctionApp, tmp_path: Path) -> None:
    async with _client(app, _host_json(tmp_path), "secret") as client:
        assert (await client.get("/api/things/one")).status_code == 200
        assert (await client.get("/api/unnamed")).status_code == 401
        assert (await client.get("/api/unnamed?code=wrong")).status_code == 401
        assert (await client.get("/api/unnamed", headers={"x-functions-key": "wrong"})).status_code == 401
        assert (await client.get("/api/unnamed?code=secret")).status_code == 200
        assert (await client.get("/api/unnamed", headers={"x-functions-key": "secret"})).status_code == 200


def test_ctrl_c_stops_it_at_once_and_cleanly() -> None:
    with serve() as served:
        assert served.stop(signal.SIGINT) == 0
    assert not [line for line in served.log() if "Traceback" in line]


def test_sigterm_lets_a_running_stream_finish() -> None:
    with serve() as served, httpx.Client(timeout=30) as client:
        body = {"prompt": "Once", "max_new_tokens": 300, "ignore_eos": True, "stream": True, "num_return_sequences": 8}
        with client.stream("POST", f"{served.url}/generate", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            served.process.send_signal(signal.SIGTERM)
            assert list(lines)[-2:] == ["data: [DONE]", ""]
        assert served.process.wait(30) == 0


def test_while_it_drains_it_is_alive_not_ready_and_refuses_what_is_new() -> None:
    with serve(DRAIN_S="120") as served, httpx.Client(base_url=served.url, timeout=30) as client:
        body = {"prompt": "Once", "max_new_tokens": 400, "ignore_eos": True, "stream": True, "num_return_sequences": 8}
        with client.stream("POST", "/generate", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            served.process.send_signal(signal.SIGTERM)
            while (state := client.get("/health").json()["state"]) == "ready":
                pass  # the signal is on its way
            refused = [client.get("/ready"), client.post("/generate", json={"prompt": "Once"})]
            rest = list(lines)
        assert state == "draining"
        assert [(one.status_code, one.headers["retry-after"]) for one in refused] == [(503, "1")] * 2
        assert rest[-2:] == ["data: [DONE]", ""]
        assert [line for line in rest if '"error"' in line] == []
        assert served.process.wait(30) == 0


def test_a_second_signal_waits_for_nothing() -> None:
    with serve() as served, httpx.Client(base_url=served.url, timeout=30) as client:
        body = {"prompt": "Once", "max_new_tokens": 480, "ignore_eos": True, "stream": True, "num_return_sequences": 16}
        with client.stream("POST", "/generate", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            served.process.send_signal(signal.SIGTERM)
            while client.get("/health").json()["state"] == "ready":
                pass
            served.process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.HTTPError):
                list(lines)
        served.process.wait(30)
        log = served.log()
    assert not [line for line in log if "Traceback" in line or "Exception" in line]


def test_ctrl_c_ends_a_running_stream_with_an_error_event() -> None:
    with serve() as served, httpx.Client(timeout=30) as client:
        body = {"prompt": "Once", "max_new_tokens": 450, "ignore_eos": True, "stream": True, "num_return_sequences": 16}
        with client.stream("POST", f"{served.url}/generate", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            served.process.send_signal(signal.SIGINT)
            assert any('"code":"not_ready"' in line for line in lines)
        assert served.process.wait(30) == 0


def test_a_server_says_when_it_listens(app: func.FunctionApp, tmp_path: Path) -> None:
    server = Server(LocalHost(app, _host_json(tmp_path)), "127.0.0.1", 0, lambda _: None)
    listener = bind("127.0.0.1", 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname())
    thread = threading.Thread(target=server.run, args=([listener],))
    assert not server.listening.is_set()
    thread.start()
    try:
        assert server.listening.wait(30)
        socket.create_connection(listener.getsockname()).close()
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def test_a_client_that_leaves_takes_its_work_along(served: Served, client: httpx.Client) -> None:
    """The next request is admitted although the one that left had reserved every row."""
    body = {"prompt": "Once", "max_new_tokens": 480, "ignore_eos": True, "num_return_sequences": 16}
    with client.stream("POST", "/generate", json=body | {"stream": True}) as response:
        next(response.iter_lines())
    done = threading.Event()

    def impatient() -> None:
        try:
            httpx.post(f"{served.url}/generate", json=body, timeout=0.3)
        except httpx.ReadTimeout:
            done.set()

    thread = threading.Thread(target=impatient)
    thread.start()
    thread.join()
    answer = client.post("/generate", json={"prompt": "Once", "max_new_tokens": 1, "timeout_s": 5})
    assert answer.status_code == 200
    assert done.is_set()


def test_idle_connections_outlive_those_of_clients_and_proxies(app: func.FunctionApp, tmp_path: Path) -> None:
    server = Server(LocalHost(app, _host_json(tmp_path)), "127.0.0.1", 0, lambda _: None)
    assert server.config.timeout_keep_alive > 60
