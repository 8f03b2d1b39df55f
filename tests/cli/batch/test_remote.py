"""What is sent again and what is not, and when a run against a deployment ends."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from email.utils import formatdate

import pytest

from generation.cli.batch import remote
from generation.cli.batch.answer import Answer
from generation.cli.batch.lines import parse
from generation.cli.batch.remote import ATTEMPTS, RemoteBackend, retry_after_s
from generation.cli.batch.runner import StoppedError
from generation.errors import InvalidRequestError
from tests.support.batch import request
from tests.support.loopback import serve_answers
from tests.support.scripted import Asked, error, http, scripted

GOOD = http(200, b'{"text": "x"}', "x-request-id: r9")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_WAIT_S", "LONGEST_WAIT_S", "SHORTEST_RETRY_AFTER_S", "LONGEST_RETRY_AFTER_S"):
        monkeypatch.setattr(remote, name, 0.001)


async def _ask(
    say: Callable[[Asked], bytes | None], *, url: str = "/v1/completions", patience_s: float = 30
) -> tuple[Answer | None, list[Asked]]:
    async with scripted(say) as server:
        with closing(RemoteBackend(server.url, "k", 8, patience_s)) as backend:
            return await backend.answer(parse(1, request("a", url)), asyncio.Event()), server.asked


async def test_a_line_is_sent_to_the_operation_that_it_names() -> None:
    answer, asked = await _ask(lambda _: GOOD)
    assert answer == Answer.response(200, "r9", b'{"text": "x"}')
    assert [(one.path, one.body) for one in asked] == [
        ("/api/v1/completions", {"prompt": "Once", "max_tokens": 2, "temperature": 0})
    ]


async def test_the_prefix_may_be_in_the_line() -> None:
    _, asked = await _ask(lambda _: GOOD, url="/api/generate")
    assert asked[0].path == "/api/generate"


def _first(*replies: bytes | None) -> Callable[[Asked], bytes | None]:
    """Say these, and then what is good."""
    waiting = list(replies)
    return lambda _: waiting.pop(0) if waiting else GOOD


@pytest.mark.parametrize(
    "bad",
    [
        error(429, "overloaded", "retry-after: 1"),
        error(503, "not_ready", "retry-after: 1"),
        error(500, "generation_failed"),
        http(502, b"<html>"),
        http(404, b"<html>the site is stopped"),
        http(200 + 208, b"{}"),
        None,
    ],
    ids=lambda value: str(value)[:20],
)
async def test_what_may_pass_is_sent_again(bad: bytes | None) -> None:
    answer, asked = await _ask(_first(bad, bad, bad))
    assert answer is not None
    assert (answer.status, len(asked)) == (200, 4)


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_an_error_of_the_app_is_the_answer(status: int) -> None:
    answer, asked = await _ask(lambda _: error(status, "invalid_value"))
    assert answer is not None
    assert (answer.status, answer.code, len(asked)) == (status, f"{status} invalid_value", 1)


async def test_an_error_that_stays_is_the_answer_in_the_end() -> None:
    answer, asked = await _ask(lambda _: error(500, "generation_failed"))
    assert answer is not None
    assert (answer.code, len(asked)) == ("500 generation_failed", ATTEMPTS)


async def test_a_deadline_that_is_missed_again_and_again_is_the_answer() -> None:
    answer, asked = await _ask(lambda _: error(503, "timeout", "retry-after: 1"))
    assert answer is not None
    assert (answer.code, len(asked)) == ("503 timeout", ATTEMPTS)


async def test_a_line_that_kills_connections_fails_while_others_are_answered() -> None:
    async with scripted(lambda asked: GOOD if asked.body["n"] == 1 else None) as server:
        backend = RemoteBackend(server.url, "k", 8, 30)
        poison = asyncio.create_task(backend.answer(parse(1, request("a", n=2)), asyncio.Event()))
        while not poison.done():
            await backend.answer(parse(2, request("b", n=1)), asyncio.Event())
        backend.close()
    answer = poison.result()
    assert answer is not None
    assert answer.code == "no_answer"
    assert answer.error is not None


async def test_a_deployment_that_is_away_does_not_use_up_attempts() -> None:
    answer, asked = await _ask(_first(*[None] * (2 * ATTEMPTS)))
    assert answer is not None
    assert answer.status == 200
    assert len(asked) == 2 * ATTEMPTS + 1


async def test_nothing_but_silence_ends_the_run() -> None:
    with pytest.raises(StoppedError, match=r"has answered nothing for .* the last was: status 503"):
        await _ask(lambda _: error(503, "not_ready"), patience_s=0.05)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_ends_the_run(status: int) -> None:
    with pytest.raises(StoppedError, match="refuses the key of BATCH_KEY"):
        await _ask(lambda _: http(status, b""))


async def test_a_line_that_waits_is_dropped_at_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LONGEST_RETRY_AFTER_S", 60.0)
    stop = asyncio.Event()

    def say(_: Asked) -> bytes:
        stop.set()
        return error(429, "overloaded", "retry-after: 60")

    async with scripted(say) as server:
        backend = RemoteBackend(server.url, "k", 8, 30)
        assert await backend.answer(parse(1, request("a")), stop) is None
        backend.close()


async def test_many_at_once_lower_the_level_together() -> None:
    seen = Counter[str]()

    def say(asked: Asked) -> bytes:
        seen[asked.body["prompt"]] += 1
        return GOOD if seen[asked.body["prompt"]] > 1 else error(429, "overloaded", "retry-after: 1")

    async with scripted(say) as server:
        backend = RemoteBackend(server.url, "k", 100, 30)
        before = backend.limit
        lines = [parse(i, request(str(i), prompt=str(i))) for i in range(4)]
        answers = await asyncio.gather(*(backend.answer(line, asyncio.Event()) for line in lines))
        backend.close()
    assert [answer.status for answer in answers if answer] == [200] * 4
    assert backend.limit <= before
    assert backend.note == f", {backend.limit} at once"


async def test_the_address_is_looked_at_first() -> None:
    async with scripted(lambda _: None) as server:
        backend = RemoteBackend(server.url, None, 8, 30)
        await backend.open()
        backend.close()
    with serve_answers(lambda _: (200, b"<html>")) as url:
        backend = RemoteBackend(f"{url}/api", None, 8, 30)
        with pytest.raises(InvalidRequestError, match="/api/health does not answer as this app does"):
            await backend.open()
        backend.close()
    with pytest.raises(StoppedError, match="/api cannot be reached: connection refused"):
        await RemoteBackend("http://127.0.0.1:1/api", None, 8, 30).open()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after": "-1"}, 0),
        ({"retry-after": "soon"}, None),
        ({}, None),
        ({"retry-after": formatdate(time.time() - 100)}, 0),
    ],
)
def test_the_time_to_wait_is_what_the_server_says(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


def test_a_date_to_wait_for_is_understood() -> None:
    found = retry_after_s({"retry-after": formatdate(time.time() + 100, usegmt=True)})
    assert found is not None
    assert 90 < found <= 100
