"""Bytes on a socket that no client library would send: the server answers or closes the connection, and continues."""

import contextlib
import json
import socket
import struct

import httpx
import pytest

from benchmarks.server import Served

BODY = json.dumps({"prompt": "Once", "max_new_tokens": 1, "seed": 1}).encode()


def _connect(served: Served) -> socket.socket:
    url = httpx.URL(served.url)
    return socket.create_connection((url.host, url.port or 80), timeout=30)


def _read(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes, which resets where it has not read all that was sent."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def _talk(served: Served, *parts: bytes) -> bytes:
    with _connect(served) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for part in parts:
                connection.sendall(part)
        return _read(connection)


def _post(*headers: str, path: str = "/api/generate") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def _fits(answer: bytes, status: int) -> None:
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:300]
    assert b"Traceback" not in answer


@pytest.fixture(autouse=True)
def _lives_on(served: Served, client: httpx.Client) -> object:
    """After every test: nothing in the log, and the next request is served."""
    before = len(served.log())
    yield
    assert client.post("/generate", content=BODY).status_code == 200
    assert not [line for line in served.log()[before:] if "Traceback" in line]


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data", ""])
def test_the_content_type_does_not_matter(served: Served, kind: str) -> None:
    _fits(_talk(served, _post(f"Content-Type: {kind}", f"Content-Length: {len(BODY)}") + BODY), 200)


def test_a_body_in_chunks_is_put_together(served: Served) -> None:
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:1], BODY[1:9], BODY[9:])]
    _fits(_talk(served, _post("Transfer-Encoding: chunked"), *chunks, b"0\r\n\r\n"), 200)


def test_chunks_without_an_end_are_cut_at_the_limit(served: Served) -> None:
    """A body of unknown length is refused as soon as it is too large; the server waits for no end."""
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answer = _talk(served, _post("Transfer-Encoding: chunked"), *[chunk] * 17)
    if answer:  # a reset can overtake it
        _fits(answer, 413)


@pytest.mark.parametrize("length", ["-1", "many", "1e3", "999999999999999999999"])
def test_a_length_that_is_none_is_refused(served: Served, length: str) -> None:
    _fits(_talk(served, _post(f"Content-Length: {length}")), 400)


def test_a_broken_chunk_is_refused(served: Served) -> None:
    _fits(_talk(served, _post("Transfer-Encoding: chunked"), b"zz\r\n"), 400)


def test_a_body_that_ends_early_leaves_nothing(served: Served) -> None:
    with _connect(served) as connection:
        connection.sendall(_post(f"Content-Length: {len(BODY) + 100}") + BODY)
        connection.shutdown(socket.SHUT_WR)
        _read(connection)


def test_a_reset_in_the_middle_of_a_body_leaves_nothing(served: Served) -> None:
    connection = _connect(served)
    connection.sendall(_post(f"Content-Length: {len(BODY)}") + BODY[:5])
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_slow_client_holds_up_nobody(served: Served, client: httpx.Client) -> None:
    with _connect(served) as slow:
        slow.sendall(_post(f"Content-Length: {len(BODY)}") + BODY[:5])
        assert client.post("/generate", content=BODY).status_code == 200
        slow.sendall(BODY[5:])
        _fits(_read(slow), 200)


def test_a_reader_that_stops_reading_holds_up_nobody(served: Served, client: httpx.Client) -> None:
    long = json.dumps({"prompt": "Once", "max_new_tokens": 400, "ignore_eos": True, "stream": True}).encode()
    with _connect(served) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        lazy.sendall(_post(f"Content-Length: {len(long)}") + long)
        assert client.post("/generate", content=BODY).status_code == 200


@pytest.mark.parametrize(
    "header", ["X-Big: " + "x" * 100_000, "\r\n".join(f"X-{i}: {'x' * 50}" for i in range(3000))], ids=["long", "many"]
)
def test_enormous_headers_are_refused(served: Served, header: str) -> None:
    answer = _talk(served, _post(header, "Content-Length: 2") + b"{}")
    if answer:  # a reset can overtake it
        _fits(answer, 431)


def test_an_enormous_path_is_refused(served: Served) -> None:
    path = b"/api/generate/" + b"x" * 200_000
    answer = _talk(served, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    if answer:
        _fits(answer, 414)


@pytest.mark.parametrize(
    "path",
    ["/api/generate/%ff%fe", "/api/generate/..%2f..%2fetc%2fpasswd", "/api/generate/%0d%0aX:1"],
)
def test_an_odd_path_is_a_prompt_like_any_other(served: Served, path: str) -> None:
    request = f"GET {path}?max_new_tokens=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    _fits(_talk(served, request.encode()), 200)


@pytest.mark.parametrize(
    "line", [b"GET", b"GET / HTCPCP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"\x00" * 100]
)
def test_what_is_not_http_is_refused(served: Served, line: bytes) -> None:
    with _connect(served) as connection:
        connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        answer = _read(connection)
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")


def test_a_length_and_chunks_at_once_are_no_way_to_smuggle(served: Served) -> None:
    """Whichever counts, the second request in the body is not answered as one of its own."""
    hidden = b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n"
    content = b"0\r\n\r\n" + hidden
    answer = _talk(served, _post("Transfer-Encoding: chunked", f"Content-Length: {len(content)}") + content)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert b'"health"' not in answer


def test_every_second_request_of_a_pipeline_is_answered(served: Served) -> None:
    one = b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = _talk(served, one + one.replace(b"Host: x", b"Host: x\r\nConnection: close"))
    assert answer.count(b"HTTP/1.1 200 ") == 2


def test_a_target_in_absolute_form_is_served(served: Served) -> None:
    answer = _talk(
        served, b"GET http://any.example/api/health HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n"
    )
    _fits(answer, 200)


def test_a_body_with_two_lengths_closes_the_connection(served: Served) -> None:
    head = b"POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"
    answer = _talk(served, head + b"\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY))
    assert b"connection: close" in answer.lower()
