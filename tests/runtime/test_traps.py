"""What the official runtime does with mistakes, and that our app makes none of them."""

import asyncio
import secrets
import socket
from pathlib import Path

import httpx
import pytest

from tests.runtime.conftest import Host
from tests.runtime.launch import KEY, Runtime, serve_runtime
from tests.support.traps import WORKER_PATHS

APPS = Path(__file__).parent / "apps"
INIT_LIMIT_S = 120.0  # in which the host wants the app imported and indexed
FRACTION = 0.05
FORGED = {"x-ms-invocation-id": "11111111-2222-3333-4444-555555555555"}


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        ("union.py", "has invalid non-type return annotation"),
        ("mixed.py", "type annotation HttpRequest"),
        ("unbound.py", "are declared in Python but not in the function definition"),
    ],
)
def test_the_runtime_refuses(app: str, reason: str, tmp_path: Path) -> None:
    with serve_runtime(APPS / app, tmp_path / "log.txt") as refused:
        assert reason in refused.report["error"]


@pytest.mark.parametrize("fault", ["raise", "none", "text"])
async def test_a_handler_that_fails_answers_json(fault: str, faults_client: httpx.AsyncClient) -> None:
    answer = await faults_client.get(f"/guarded/{fault}")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/json")
    assert answer.json()["error"]["code"] == "internal_error"
    assert "inner workings" not in answer.text


async def test_a_stream_that_fails_says_so_and_ends(faults_client: httpx.AsyncClient) -> None:
    answer = await faults_client.get("/guarded/stream")
    first, error, done, nothing = answer.text.split("\n\n")
    assert (first, done, nothing) == ("data: first", "data: [DONE]", "")
    assert "internal_error" in error
    assert "inner workings" not in error


async def test_without_care_the_runtime_answers_otherwise(faults_client: httpx.AsyncClient) -> None:
    """What `answer` and `EventStream` are for. When this fails, the runtime has changed: read docs/functions.md."""
    for fault in ("raise", "none"):
        answer = await faults_client.get(f"/bare/{fault}")
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert (await faults_client.get("/bare/text")).text == '"text"'
    with pytest.raises(httpx.RemoteProtocolError):
        await faults_client.get("/bare/stream")


@pytest.mark.parametrize("path", ["/", *WORKER_PATHS, *(f"/api{path}" for path in WORKER_PATHS)])
def test_nothing_that_the_worker_answers_itself_can_hang(path: str, host: Host) -> None:
    answer = httpx.get(host.url.removesuffix("/api") + path, timeout=10)
    assert answer.status_code == 404 or answer.headers["content-type"].startswith("application/json")


async def test_a_forged_invocation_id_is_replaced_by_todays_host(faults_client: httpx.AsyncClient) -> None:
    answer = await faults_client.get("/guarded/text", headers=FORGED)
    assert answer.json()["error"]["code"] == "internal_error"


@pytest.mark.heavy
async def test_a_forged_invocation_id_costs_only_its_caller_an_answer_under_an_old_host(tmp_path: Path) -> None:
    """The request is filed under the caller's id, and the worker waits for one with the id of the invocation."""
    with serve_runtime(APPS / "faults.py", tmp_path / "log.txt", OLD_HOST="1") as old:
        async with httpx.AsyncClient(base_url=old.url, timeout=30) as client:
            forged = asyncio.create_task(client.get("/guarded/text", headers=FORGED))
            report = f"{old.report['url']}/admin/harness/report"
            while not (await client.get(report)).json()["invoking"]:
                pass
            for _ in range(3):
                assert (await client.get("/guarded/text")).status_code == 500
            assert (await client.get(report)).json()["invoking"] == 1
            assert not forged.done()
            forged.cancel()


def test_the_workers_own_paths_are_those_that_we_avoid(runtime: Runtime) -> None:
    for path in WORKER_PATHS:
        assert httpx.get(runtime.report["worker_url"] + path).status_code == 200


def test_logs_tell_neither_keys_nor_prompts(host: Host) -> None:
    prompt = f"Once{secrets.token_hex(8)}"
    before = len(host.log())
    httpx.get(f"{host.url}/generate/{prompt}", params={"code": KEY, "max_new_tokens": 1}).raise_for_status()
    httpx.get(f"{host.url}/generate/{prompt}", params={"code": KEY, "max_new_tokens": "none"})
    httpx.post(f"{host.url}/generate", params={"code": KEY}, json={"prompt": prompt, "max_new_tokens": 1})
    httpx.post(f"{host.url}/generate", params={"code": KEY}, json={"prompts": prompt})
    log = "\n".join(host.log(before + 4)[before:])
    assert '"method": "GET", "route": "generate_path", "status": 200' in log
    assert KEY not in log
    assert prompt not in log


def test_the_app_starts_in_a_fraction_of_what_the_host_allows(runtime: Runtime) -> None:
    """Processor time, so that the test does not depend on what else the machine does."""
    assert runtime.report["start_cpu_s"] < FRACTION * INIT_LIMIT_S


def test_the_runtime_starts_without_what_builds_models(runtime: Runtime) -> None:
    assert not {"torch", "transformers", "optimum", "onnx"} & set(runtime.report["modules"])


def test_the_warm_up_trigger_waits_for_the_model(runtime: Runtime) -> None:
    answer = httpx.post(f"{runtime.report['url']}/admin/warmup", timeout=60)
    assert answer.json() == ["warmup"]


def test_the_worker_takes_a_head_as_long_as_the_hosts_limits(runtime: Runtime) -> None:
    """In two pieces, of which the first is longer than what h11 takes by default: 16 KiB."""
    address = httpx.URL(runtime.report["worker_url"])
    first = b"GET /openapi.json?" + b"x" * 8000 + b" HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 16_000
    with socket.create_connection((address.host, address.port or 80), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(first)
        # An answer to another request shows that the worker has read the first piece by now.
        assert httpx.get(f"{runtime.report['worker_url']}/openapi.json").status_code == 200
        connection.sendall(b"x" * 16_000 + b"\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
