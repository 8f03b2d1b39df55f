"""The line of a request, and the headers of its answer."""

import json
import logging
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers

from benchmarks.server import Served, serve
from generation.observe import record as requestlog
from generation.observe.record import RequestRecord
from generation.observe.timeline import Timeline, phases

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
DONE = Timeline(10.0, 4, 10.5, 11.0, 13.0, cached_tokens=2, generated_tokens=7, finish_reasons=["stop"])


def _line(record: RequestRecord, caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    caplog.set_level(logging.INFO, requestlog.log.name)
    record.answered(200)
    (message,) = [one.getMessage() for one in caplog.records]
    line: dict[str, Any] = json.loads(message)
    return line


def test_the_line_has_counts_and_times(caplog: pytest.LogCaptureFixture) -> None:
    record = RequestRecord("generate", "POST", {"x-request-id": "mine"})
    record.timelines += [DONE, Timeline(10.0, 3, 12.0, 12.5, 14.0, generated_tokens=5, finish_reasons=["length"])]
    line = _line(record, caplog)
    assert line.pop("ms") >= 0
    assert line == {
        "event": "request", "id": "mine", "method": "POST", "route": "generate", "status": 200,
        "prompt_tokens": 7, "cached_tokens": 2, "generated_tokens": 12, "finish_reasons": {"stop": 1, "length": 1},
        "queue_ms": 2000.0, "prefill_ms": 500.0, "decode_ms": 2000.0,
    }  # fmt: skip


def test_it_is_written_and_counted_once(caplog: pytest.LogCaptureFixture) -> None:
    before = requestlog.requests["once", "GET", 200]
    record = RequestRecord("once", "GET", {})
    _line(record, caplog)
    record.answered(500)
    assert len(caplog.records) == 1
    assert requestlog.requests["once", "GET", 200] == before + 1


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"00-{TRACE}-{SPAN}-01", TRACE),
        (f"cc-{TRACE}-{SPAN}-01-more", TRACE),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_a_traceparent_is_taken_where_it_is_one(header: str, trace: str | None) -> None:
    assert RequestRecord("generate", "POST", {"traceparent": header}).trace_id == trace


def test_a_traceparent_shows_in_the_line(caplog: pytest.LogCaptureFixture) -> None:
    record = RequestRecord("generate", "POST", {"traceparent": f"00-{TRACE}-{SPAN}-00"})
    assert not record.sampled
    assert _line(record, caplog)["trace_id"] == TRACE


def test_prompts_are_there_when_they_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    record = RequestRecord("generate", "POST", {})
    record.note_prompts(["a", (1, 2)])
    assert _line(record, caplog)["prompts"] == ["a", "(1, 2)"]


def test_phases_end_where_the_request_did() -> None:
    assert phases([DONE]) == {"queue": 0.5, "prefill": 0.5, "decode": 2.0}
    assert phases([Timeline(10.0, 4, 10.5, ended=11.0)]) == {"queue": 0.5}
    assert phases([]) == {}


def test_an_answer_says_where_its_time_went(client: httpx.Client) -> None:
    response = client.post("/generate", json={"prompt": "Once", "max_new_tokens": 5})
    parts = dict(part.split(";dur=") for part in response.headers["server-timing"].split(", "))
    assert list(parts) == ["queue", "prefill", "decode", "total"]
    assert float(parts["total"]) >= float(parts["decode"]) > 0


def _lines(served: Served, count: int) -> list[dict[str, Any]]:
    wanted = count
    while True:
        text = served.log(wanted)
        lines = [json.loads(one[one.index("{") :]) for one in text if '"event": "request"' in one]
        if len(lines) >= count:
            return lines
        wanted = len(text) + 1


def test_a_stream_is_one_line_when_it_has_ended_and_prompts_are_a_matter_of_the_setting() -> None:
    body = {"prompt": "a secret", "max_new_tokens": 6, "ignore_eos": True, "stream": True}
    with serve(LOG_PROMPTS="on") as served:
        httpx.post(f"{served.url}/generate", json=body, timeout=60).raise_for_status()
        httpx.post(f"{served.url}/v1/completions", json={"prompt": "another", "max_tokens": 1}, timeout=60)
        first, second = _lines(served, 2)
    assert (first["status"], first["generated_tokens"], first["finish_reasons"]) == (200, 6, {"length": 1})
    assert first["ms"] >= first["decode_ms"]
    assert (first["prompts"], second["prompts"]) == (["a secret"], ["another"])


def test_a_stream_that_is_left_says_so() -> None:
    body = {"prompt": "Once", "max_new_tokens": 480, "ignore_eos": True, "stream": True, "num_return_sequences": 16}
    with serve() as served:
        with httpx.stream("POST", f"{served.url}/generate", json=body, timeout=60) as response:
            next(response.iter_lines())
        (line,) = _lines(served, 1)
    assert line["error"] == "client_left"
    assert line["generated_tokens"] > 0
    assert line["finish_reasons"] == {"cancelled": 16}
    assert line["decode_ms"] > 0


def test_of_several_traceparents_none_is_taken() -> None:
    headers = Headers(raw=[(b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())] * 2)
    assert RequestRecord("generate", "POST", headers).trace_id is None


@pytest.mark.parametrize("route", ["health", "ready", "metrics"])
def test_what_monitoring_calls_is_logged_at_debug_level(route: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, requestlog.log.name)
    RequestRecord(route, "GET", {}).answered(200)
    RequestRecord(route, "GET", {}).answered(503, "not_ready")
    RequestRecord("generate", "GET", {}).answered(200)
    assert [one.levelno for one in caplog.records] == [logging.DEBUG, logging.INFO, logging.INFO]


def test_a_whole_answer_whose_client_left_is_no_success() -> None:
    body = {"prompt": "Once", "max_new_tokens": 480, "ignore_eos": True, "num_return_sequences": 16}
    with serve() as served:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{served.url}/generate", json=body, timeout=0.3)
        (line,) = _lines(served, 1)
    assert (line["status"], line["error"], line["finish_reasons"]) == (499, "client_left", {"cancelled": 16})
