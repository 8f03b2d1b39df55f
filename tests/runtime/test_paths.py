"""A prompt in the path is the same text under the embedded host and under the official runtime."""

import json
import socket

import httpx
import pytest

from tests.runtime.conftest import Host
from tests.runtime.launch import KEY
from tests.support.path_forms import LONG_FORM, PROMPTS, REFUSED_PATHS

GREEDY = {"max_new_tokens": 1, "do_sample": False}


def _shown(form: str) -> str:
    return form if len(form) < 40 else f"{len(form)} bytes"


def _get(url: str, path: str, query: str = "") -> tuple[int, bytes]:
    """Ask for a path exactly as it is written, which HTTP clients do not; return status and body."""
    address = httpx.URL(url)
    target = f"{address.path}{path}{query}"
    with socket.create_connection((address.host, address.port or 80), timeout=30) as connection:
        lines = [f"GET {target} HTTP/1.1", "Host: x", f"x-functions-key: {KEY}", "Connection: close", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize("form", PROMPTS, ids=_shown)
def test_a_form_is_the_prompt_of_the_table(host: Host, form: str) -> None:
    status, body = _get(host.url, f"/generate/{form}", "?max_new_tokens=1&do_sample=false")
    assert status == 200, body
    in_body = {"prompt": PROMPTS[form], **GREEDY}
    expected = httpx.post(f"{host.url}/generate", json=in_body, headers={"x-functions-key": KEY}).json()
    assert json.loads(body)["generated_sequences"] == expected["generated_sequences"]


@pytest.mark.parametrize("path", REFUSED_PATHS, ids=_shown)
def test_a_path_that_the_host_refuses(host: Host, path: str) -> None:
    status, _ = _get(host.url, path)
    assert status == REFUSED_PATHS[path]


def test_the_long_form_is_as_long_as_a_url_may_be() -> None:
    assert 7 * 1000 < len(LONG_FORM) < 8 * 1000


def test_no_invocation_waits_for_a_request_that_the_worker_refused(runtime: Host) -> None:
    """An invocation ends just after its answer, so it is asked more than once."""
    report = f"{runtime.url.removesuffix('/api')}/admin/harness/report"
    assert any(httpx.get(report).json()["invoking"] == 0 for _ in range(50))
