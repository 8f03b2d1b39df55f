"""The local log has one JSON object per line for every kind of message."""

import io
import json
import logging
import socket
from typing import Any

import httpx
import pytest

from benchmarks.server import Served
from generation.observe.log_lines import JsonLines, log_to


def _line(message: str, *, error: BaseException | None = None) -> dict[str, Any]:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("generation.some", logging.WARNING, "", 0, message, None, exc_info)
    record.created = 0.0
    text = JsonLines().format(record)
    assert "\n" not in text
    line: dict[str, Any] = json.loads(text)
    return line


def test_a_message_that_is_an_object_adds_its_fields() -> None:
    line = _line('{"event": "request", "id": "é"}')
    assert line == {"time": "1970-01-01T00:00:00.000+00:00", "level": "WARNING", "event": "request", "id": "é"}


@pytest.mark.parametrize("message", ["two\nlines", "{not json", "{}[]", "[1]", ""])
def test_any_other_message_is_a_field(message: str) -> None:
    line = _line(message)
    assert (line["logger"], line["message"]) == ("generation.some", message)


def test_a_traceback_is_a_field() -> None:
    line = _line("it failed", error=ValueError("no"))
    assert line["message"] == "it failed"
    assert line["exception"] == "ValueError: no"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "is_json"), [(io.StringIO(), True), (_Terminal(), False)])
def test_a_terminal_gets_text(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, is_json: bool) -> None:
    monkeypatch.setattr(logging, "root", logging.RootLogger(logging.WARNING))
    log_to(stream)
    logging.root.info("hello")
    assert stream.getvalue().startswith("{") == is_json
    assert "hello" in stream.getvalue()


def test_every_line_of_the_embedded_host_is_json(served: Served, client: httpx.Client) -> None:
    address = httpx.URL(served.url)
    with socket.create_connection((address.host, address.port or 80)) as connection:
        connection.sendall(b"not HTTP\r\n\r\n")  # of which uvicorn itself says something
        connection.recv(1)
    client.post("/generate", json={"prompt": "Once", "max_new_tokens": 1}, headers={"x-request-id": "as-json"})
    served.wait_for_log("as-json")
    lines = [json.loads(line) for line in served.log()]
    (mine,) = [line for line in lines if line.get("id") == "as-json"]
    assert (mine["event"], mine["level"]) == ("request", "INFO")
