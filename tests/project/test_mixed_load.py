"""Short whole answers among readiness calls, from many threads: each of them comes."""

import http.client
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.server import serve
from tests.runtime.launch import KEY, interpreter, serve_runtime

THREADS, ROUNDS, REQUESTS = 24, 12, 20
PATIENCE_S = 10.0


@pytest.fixture(params=["this Python", "Python 3.13", "official runtime"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The bundled model, served in each way."""
    if request.param == "official runtime":
        with serve_runtime(Path("function_app.py").resolve(), tmp_path / "log.txt") as running:
            yield running.url
        return
    python = sys.executable if request.param == "this Python" else interpreter()
    if python is None:
        pytest.skip("there is no Python 3.13 with the run-time packages")
    with serve(python=python) as served:
        yield served.url


def _ask(address: httpx.URL, number: int, tokens: int, lost: list[str]) -> None:
    body = json.dumps({"prompt": "Once upon", "max_tokens": tokens})
    headers = {"x-functions-key": KEY}
    for _ in range(REQUESTS):
        connection = http.client.HTTPConnection(address.host, address.port, timeout=PATIENCE_S)
        try:
            if number % 2:
                connection.request("GET", f"{address.path}/ready")
            else:
                connection.request("POST", f"{address.path}/v1/completions", body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                lost.append(f"status {answer.status}")
        except OSError as error:
            lost.append(repr(error))
        finally:
            connection.close()


@pytest.mark.heavy
def test_every_answer_of_a_mixed_load_comes(address: str) -> None:
    lost: list[str] = []
    for turn in range(ROUNDS):
        threads = [
            threading.Thread(target=_ask, args=(httpx.URL(address), number, 1 + turn % 4, lost))
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert lost == []
