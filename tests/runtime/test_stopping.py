"""What each kind of answer ends in when the container's entry point says that the time to stop is nearly over."""

import asyncio
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.server import serve
from generation.api.container_stop import MESSAGE, VARIABLE
from generation.config import ROOT
from tests.runtime.launch import KEY, serve_runtime

LISTED = 14
PROMPT = [0]  # one token, so that the rest of the context window is left for the answer
LONG = {"max_tokens": 500, "temperature": 0, "ignore_eos": True}
RUNNING = re.compile(r"^generation_running_sequences (\d+)", re.MULTILINE)


@contextmanager
def _serving(kind: str, log_file: Path, name: str) -> Iterator[str]:
    """Serve the app under either host; yield its address."""
    settings = {VARIABLE: name, "SPECULATE": "0", "MAX_RUNNING": "16"}
    if kind == "embedded":
        with serve("--key", KEY, **settings) as running:
            yield running.url
    else:
        with serve_runtime(ROOT / "function_app.py", log_file, **settings) as runtime:
            yield runtime.url


async def _until_running(client: httpx.AsyncClient, sequences: int) -> None:
    found = None
    while found is None or int(found[1]) < sequences:
        found = RUNNING.search((await client.get("/metrics")).text)


def _tell(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(MESSAGE)


@pytest.mark.parametrize("kind", ["embedded", "runtime"])
async def test_every_answer_ends_and_the_server_goes_on_answering(kind: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        name = f"test-{os.urandom(8).hex()}"
        listener.bind(f"\0{name}")
        listener.listen()
        listener.settimeout(30)
        with _serving(kind, tmp_path / "log.txt", name) as url:
            headers = {"x-functions-key": KEY}
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
                whole = asyncio.create_task(client.post("/v1/completions", json=LONG | {"prompt": PROMPT}))
                several = LONG | {"prompt": [PROMPT] * LISTED}
                listed = asyncio.create_task(client.post("/v1/completions", json=several))
                await _until_running(client, 1 + LISTED)
                stream = LONG | {"prompt": PROMPT, "stream": True}
                async with client.stream("POST", "/v1/completions", json=stream) as response:
                    lines = response.aiter_lines()
                    await anext(lines)
                    await asyncio.to_thread(_tell, listener)
                    rest = [line async for line in lines if line]

                assert rest[-1] == "data: [DONE]"
                error = json.loads(rest[-2].removeprefix("data: "))["error"]
                assert (error["code"], error["message"]) == ("not_ready", "this instance was shut down; try again")

                refused = await whole
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert refused.json() == {"error": error}

                kept = await listed
                assert kept.status_code == 200
                choices = kept.json()["choices"]
                assert [choice["finish_reason"] for choice in choices] == ["length"] * LISTED
                assert all(choice["text"] for choice in choices)
                assert kept.json()["usage"]["completion_tokens"] < LISTED * LONG["max_tokens"]

                new = await client.post("/v1/completions", json={"prompt": PROMPT, "max_tokens": 1})
                assert (new.status_code, new.headers["retry-after"]) == (503, "1")
                assert (await client.get("/ready")).status_code == 503
                assert (await client.get("/health")).json()["state"] in {"draining", "stopped"}
