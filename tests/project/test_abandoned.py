"""Streams whose clients disconnect: every one is recorded as such, with what it cost."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from benchmarks.server import Served, serve

CLIENTS = 16
BODY = {"prompt": "Once", "max_new_tokens": 480, "ignore_eos": True, "return_full_text": False, "stream": True}


def _abandon(url: str, number: int) -> None:
    headers = {"x-request-id": f"left-{number}"}
    with httpx.stream("POST", f"{url}/generate", json=BODY, headers=headers, timeout=60) as response:
        next(response.iter_lines())


def _lines(served: Served, count: int) -> dict[str, dict[str, object]]:
    """Return the lines of the requests by their ids; wait until there are enough."""
    wanted = count
    while True:
        log = served.log(wanted)
        lines = [json.loads(one[one.index("{") :]) for one in log if '"event": "request"' in one]
        if len(lines) >= count:
            return {str(line["id"]): line for line in lines}
        wanted = len(log) + 1


@pytest.mark.parametrize("streams", [48, pytest.param(600, marks=pytest.mark.heavy)])
def test_no_abandoned_stream_is_missed(streams: int) -> None:
    with serve() as served:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda number: _abandon(served.url, number), range(streams)))
        lines = _lines(served, streams)
        assert len(lines) == streams
        wrong = [line for line in lines.values() if line.get("error") != "client_left"]
        assert wrong == []
        for line in lines.values():
            # The engine may have finished before the client disconnected.
            assert line["finish_reasons"] in ({"cancelled": 1}, {"length": 1})
            assert line["generated_tokens"]
            assert "decode_ms" in line
