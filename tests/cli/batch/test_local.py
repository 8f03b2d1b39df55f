"""Lines answered in this process, by the operations that HTTP uses: an engine with a model of a few lines."""

import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import azure.functions as func
import pytest
from starlette.responses import JSONResponse, Response

from generation.api import completions, generate
from generation.api.exchange import Exchange
from generation.api.handler import handler
from generation.cli.batch.answer import Answer
from generation.cli.batch.lines import parse
from generation.cli.batch.local import LocalBackend, widen
from generation.cli.batch.runner import StoppedError
from generation.cli.host import endpoints
from generation.config import ROOT, Settings
from generation.engine.engine import Engine
from generation.engine.scheduler import Limits
from generation.errors import InvalidRequestError
from generation.service import Loaded, Service, State
from tests.support.batch import request
from tests.support.fakes import VOCABULARY, ByteTokenizer, FakeModel


class _Service(Service):
    """Ready at once, with a fake model; the queue holds `waiting` requests."""

    def __init__(self, waiting: int = 100) -> None:
        super().__init__(Settings(max_running=4))
        config = SimpleNamespace(name="fake", context=64, vocabulary=VOCABULARY, files={})
        limits = Limits(rows=4, staging=2, tokens=4000, chunk=8, waiting=waiting)
        engine = Engine(FakeModel(), ByteTokenizer(), limits)
        engine.start()
        self._loaded = Loaded(cast("Any", config), cast("Any", ByteTokenizer()), engine)


@pytest.mark.parametrize(
    ("given", "memory", "rows"),
    [
        ({}, 4 << 30, "64"),
        ({"MAX_RUNNING": " "}, 2 << 30, "64"),
        ({"MAX_RUNNING": "8"}, 4 << 30, "8"),
        ({}, 1 << 30, None),
    ],
)
def test_the_batch_has_more_rows_unless_they_are_set_or_memory_is_scarce(
    given: dict[str, str], memory: int, rows: str | None
) -> None:
    widen(given, memory)

    assert given.get("MAX_RUNNING") == rows


def _app(service: Service) -> func.FunctionApp:
    app = func.FunctionApp()

    @app.route("v1/completions", methods=["POST"])
    @handler
    async def complete(exchange: Exchange) -> Response:
        return await completions.post(service, exchange)

    @app.route("generate", methods=["POST"])
    @handler
    async def plain(exchange: Exchange) -> Response:
        return await generate.post(service, exchange)

    @app.route("v1/chat/completions", methods=["POST"])
    @handler
    async def chat(_: Exchange) -> Response:
        raise InvalidRequestError("this is not a chat model", param="messages")

    @app.route("v1/models/{model}", methods=["GET", "POST"])
    @handler
    async def named(exchange: Exchange) -> Response:
        return JSONResponse(dict(exchange.request.path_params))

    @app.route("broken", methods=["POST"])
    @handler
    async def broken(_: Exchange) -> Response:
        raise ValueError("inner workings")

    return app


@pytest.fixture
def service() -> Iterator[_Service]:
    one = _Service()
    yield one
    one.stop()


def _backend(service: Service) -> LocalBackend:
    return LocalBackend(endpoints(_app(service), ROOT / "host.json"), service, "/api")


async def _ask(backend: LocalBackend, text: bytes) -> Answer:
    answer = await backend.answer(parse(1, text), asyncio.Event())
    assert answer is not None
    return answer


async def test_each_operation_answers_as_over_http(service: _Service) -> None:
    backend = _backend(service)
    await backend.open()
    answer = await _ask(backend, request("a", max_tokens=5))
    body = json.loads(answer.body)
    assert (answer.status, body["object"], body["usage"]["completion_tokens"]) == (200, "text_completion", 5)
    assert answer.request_id is not None
    plain = await backend.answer(
        parse(2, b'{"custom_id": "b", "method": "POST", "url": "/generate", "body": {"prompt": "x", "seed": 1}}'),
        asyncio.Event(),
    )
    assert plain is not None
    assert json.loads(plain.body)["generated_sequences"][0].startswith("x")


@pytest.mark.parametrize("url", ["/v1/models/m", "/api/v1/models/m"])
async def test_a_path_may_begin_with_the_prefix_and_hold_a_name(service: _Service, url: str) -> None:
    assert json.loads((await _ask(_backend(service), request("a", url))).body) == {"model": "m"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (request("a", colour=1), "400 unsupported_parameter"),
        (request("a", temperature=-1), "400 invalid_value"),
        (request("a", temperature=float("nan")), "400 invalid_value"),
        (request("a", max_tokens=100), "400 context_length_exceeded"),
        (request("a", n=100), "400 request_too_large"),
        (request("a", prompt="x" * (2 << 20)), "413 body_too_large"),
        (request("a", model="gpt-9"), "404 model_not_found"),
        (request("a", "/v1/chat/completions"), "400 invalid_value"),
        (request("a", "/v1/nowhere"), "404 not_found"),
        (request("a", "/broken"), "500 internal_error"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_an_error_is_what_the_server_answers(service: _Service, text: bytes, code: str) -> None:
    assert (await _ask(_backend(service), text)).code == code


async def test_no_time_limit_applies_but_the_lines_own(service: _Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.api.handler.LIMIT_S", 0.0)
    backend = _backend(service)
    answer = await _ask(backend, request("a", timeout_s=100000.0))
    assert answer.status == 200
    late = await _ask(backend, request("b", timeout_s=1e-9))
    assert late.code == "503 timeout"


async def test_a_full_queue_is_waited_for() -> None:
    service = _Service(waiting=3)
    backend = _backend(service)
    try:
        lines = [parse(i, request(str(i), prompt=["ab", "cd", "ef"], ignore_eos=True)) for i in range(12)]
        answers = await asyncio.gather(*(backend.answer(line, asyncio.Event()) for line in lines))
    finally:
        service.stop()
    assert [answer.status for answer in answers if answer] == [200] * 12
    engine = service.engine
    assert engine is not None
    assert engine.telemetry.rejections["overloaded"] > 0


async def test_an_engine_that_has_failed_ends_the_run(service: _Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Service, "state", State.FAILED)
    backend = _backend(service)
    with pytest.raises(StoppedError, match="the model cannot answer any more"):
        await _ask(backend, request("a"))


def test_twice_the_batch_is_on_its_way_unless_told_otherwise(service: _Service) -> None:
    found = endpoints(_app(service), ROOT / "host.json")
    assert LocalBackend(found, service, "/api").limit == 8
    assert LocalBackend(found, service, "/api", 3).limit == 3
