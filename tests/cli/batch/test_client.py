"""The HTTP client, against a server that sends scripted bytes."""

import pytest

from generation.cli.batch.client import Client, ConnectionBrokenError
from tests.support.scripted import Asked, http, scripted


async def test_a_request_carries_path_key_and_body() -> None:
    async with scripted(lambda _: http(200, b'{"a": 1}', "X-Thing: b")) as server:
        client = Client(server.url, "k", 10)
        reply = await client.send("POST", "/v1/completions", b'{"n": 1}')
        client.close()
    assert (reply.status, reply.headers["x-thing"], reply.body) == (200, "b", b'{"a": 1}')
    (asked,) = server.asked
    assert (asked.path, asked.body) == ("/api/v1/completions", {"n": 1})
    assert (asked.headers["x-functions-key"], asked.headers["authorization"]) == ("k", "Bearer k")
    assert asked.headers["host"] == f"127.0.0.1:{server.port}"


async def test_connections_are_kept_unless_the_server_closes_them() -> None:
    def say(asked: Asked) -> bytes:
        return http(200, b"{}", *(["connection: close"] if asked.body == 2 else []))

    async with scripted(say) as server:
        client = Client(server.url, None, 10)
        for number in (1, 2, 3):
            await client.send("POST", "/", str(number).encode())
        client.close()
    assert [one.connection for one in server.asked] == [1, 1, 2]
    assert not {"x-functions-key", "authorization"} & set(server.asked[0].headers)


async def test_a_kept_connection_that_the_server_has_closed_is_replaced() -> None:
    async with scripted(lambda asked: None if asked.connection == 1 and asked.body == 2 else http(200)) as server:
        client = Client(server.url, None, 10)
        for number in (1, 2):
            assert (await client.send("POST", "/", str(number).encode())).status == 200
        client.close()
    assert [(one.connection, one.body) for one in server.asked] == [(1, 1), (1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (None, "ended before the response"),
        (b"HTTP/1.1 200 X\r\ncontent-length: 9\r\nconnection: close\r\n\r\nhalf", "ended before the response"),
        (b"garbage\r\n\r\nconnection: close", "illegal"),
        (
            b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n5\r\nab",
            "ended before the response",
        ),
    ],
)
async def test_a_response_that_breaks_off_is_no_response(said: bytes | None, words: str) -> None:
    async with scripted(lambda _: said) as server:
        with pytest.raises(ConnectionBrokenError, match=words):
            await Client(server.url, None, 10).send("POST", "/", b"1")


async def test_a_chunked_response_is_joined() -> None:
    said = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    async with scripted(lambda _: said) as server:
        client = Client(server.url, None, 10)
        assert (await client.send("POST", "/", b"1")).body == b"abc"
        client.close()


async def test_a_response_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.cli.batch.client.LARGEST_BODY", 10)
    async with scripted(lambda _: http(200, b"x" * 11)) as server:
        with pytest.raises(ConnectionBrokenError, match="larger than"):
            await Client(server.url, None, 10).send("POST", "/", b"1")


async def test_a_server_that_says_nothing_is_not_waited_for_without_end() -> None:
    async with scripted(lambda _: b"") as server:
        with pytest.raises(ConnectionBrokenError, match=r"no response within 0\.05 s"):
            await Client(server.url, None, 0.05).send("POST", "/", b"1")


async def test_no_server_is_no_response() -> None:
    with pytest.raises(ConnectionBrokenError):
        await Client("http://127.0.0.1:1/api", None, 10).send("GET", "/health")
