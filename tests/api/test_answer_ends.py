"""Every answer ends: whenever the engine is done, whenever the client disconnects, and whatever never comes."""

import asyncio
import contextlib
import functools
import json
from collections.abc import Awaitable, Callable
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytest
from azurefunctions.extensions.http.fastapi import Request, Response
from starlette.responses import Response as AnyResponse

import function_app
from generation.api import completions, events, generate, handler
from generation.api.events import EventStream
from generation.api.exchange import Exchange
from generation.api.handler import answer
from generation.config import Settings
from generation.engine.request import GenerationRequest, Item, Update
from generation.engine.stream import Bell, TokenStream
from generation.model.artifact import load_tokenizer, read_config
from generation.observe.timeline import Timeline
from generation.service import Loaded
from generation.text.tokenizer import Tokenizer
from tests.support.http import Message

TURNS = range(50)
ENOUGH_TURNS = 200  # of the event loop: far more than an answer takes
PROMPT = [1, 2, 3]


class Stream(TokenStream):
    """Tells when its reader begins to wait."""

    began: Callable[[], object] = staticmethod(lambda: None)

    async def rest(self) -> list[Item]:
        self.began()
        return await super().rest()


class Engine:
    """Ends each request a number of turns of the event loop after it was submitted, or after its reader began to wait.

    What is scheduled later comes later within its turn, so the two differ by what else happens in that turn.
    """

    def __init__(self, turns: int | None, *, from_reader: bool = False) -> None:
        self._turns = turns
        self._from_reader = from_reader
        self.stream: TokenStream | None = None

    def submit(self, *requests: GenerationRequest) -> TokenStream:
        """Take the requests; the work ends early where it is cancelled."""
        indexes = [one.number * one.choices + choice for one in requests for choice in range(one.choices)]

        def finish() -> None:
            if not stream.mailbox.cancelled:
                for index in indexes:
                    stream.mailbox.post(Update(index, "text", (), "length", 1))
            for _ in requests:
                stream.mailbox.close()
            reader = stream.mailbox.reader
            assert reader is not None
            reader.news.set()  # at this very turn; the bell would take another one

        self.stream = stream = Stream(finish, Bell(), [Timeline() for _ in requests])
        if self._turns is not None:
            begin = functools.partial(_after, self._turns, finish)
            if self._from_reader:
                stream.began = begin
            else:
                begin()
        return stream


def _after(turns: int, do: Callable[[], object]) -> None:
    """Call `do` in the event loop, a number of turns from now."""
    if turns:
        asyncio.get_running_loop().call_soon(_after, turns - 1, do)
    else:
        do()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(Settings().model_dir, read_config(Settings().model_dir))


@pytest.fixture
def service(tokenizer: Tokenizer) -> Callable[[Engine], Any]:
    """Return a maker of services that have loaded the bundled model's tokenizer, and this engine."""
    settings = Settings()
    config = read_config(settings.model_dir)

    def make(engine: Engine) -> Any:
        loaded = Loaded(config, tokenizer, engine)  # type: ignore[arg-type]
        return SimpleNamespace(settings=settings, loaded=lambda: loaded)

    return make


Operation = Callable[[Any, Exchange], Awaitable[AnyResponse]]

CONTRACTS: dict[str, tuple[Operation, dict[str, Any]]] = {
    "generate": (generate.post, {"prompt": "Once", "max_new_tokens": 1}),
    "generate, by path": (generate.get, {}),
    "completions": (completions.post, {"prompt": PROMPT, "max_tokens": 1}),
    "completions of a list": (completions.post, {"prompt": [PROMPT] * 3, "max_tokens": 1}),
    "completions, the best of several": (completions.post, {"prompt": PROMPT, "max_tokens": 1, "best_of": 3}),
}


@pytest.fixture(params=CONTRACTS)
def contract(request: pytest.FixtureRequest) -> tuple[Operation, dict[str, Any]]:
    return CONTRACTS[request.param]


def _request(body: dict[str, Any], left: asyncio.Event) -> Request:
    """A request as a server hands it over: after the body, `receive` waits until the client has disconnected."""
    waiting: list[Message] = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Message:
        if waiting:
            return waiting.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"max_new_tokens=1",
        "headers": [],
        "path_params": {"prompt": "Once"},
    }
    return Request(scope, receive)


async def _ends(answering: "asyncio.Task[Response]", turn: int) -> Response:
    """Return the response; fail where the event loop has turned far too often without one."""
    for _ in range(ENOUGH_TURNS):
        if answering.done():
            return answering.result()
        await asyncio.sleep(0)
    raise AssertionError(f"no answer, with the end {turn} turns after the start")


async def _submitted(engine: Engine, answering: "asyncio.Task[Response]") -> None:
    while engine.stream is None and not answering.done():  # noqa: ASYNC110 - single turns of the loop are the point
        await asyncio.sleep(0)


@pytest.mark.parametrize("from_reader", [False, True])
async def test_an_answer_is_sent_whenever_it_is_complete(
    contract: tuple[Operation, dict[str, Any]], service: Callable[[Engine], Any], from_reader: bool
) -> None:
    operation, body = contract
    for turn in TURNS:
        engine = Engine(turn, from_reader=from_reader)
        made = service(engine)
        request = _request(body, asyncio.Event())
        answering = asyncio.create_task(answer("test", request, functools.partial(operation, made)))
        await _submitted(engine, answering)
        response = await _ends(answering, turn)
        assert response.status_code == 200
        assert b"text" in bytes(response.body)


async def test_an_answer_does_not_wait_for_a_task_that_swallows_its_cancellation(
    contract: tuple[Operation, dict[str, Any]], service: Callable[[Engine], Any]
) -> None:
    """As some versions of anyio did where two cancellations met in one turn of the event loop."""
    operation, body = contract
    left = asyncio.Event()
    request = _request(body, left)
    genuine = request.receive

    async def receive() -> Message:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                message: Message = await genuine()
                return message

    stubborn, engine = Request(request.scope, receive), Engine(3)
    made = service(engine)
    answering = asyncio.create_task(answer("test", stubborn, lambda one: operation(made, one)))
    await _submitted(engine, answering)
    assert (await _ends(answering, 3)).status_code == 200
    left.set()


async def test_a_client_that_disconnects_ends_the_work_whenever_it_does(
    contract: tuple[Operation, dict[str, Any]], service: Callable[[Engine], Any]
) -> None:
    operation, body = contract
    for turn in TURNS:
        engine, left = Engine(None), asyncio.Event()
        made = service(engine)
        request = _request(body, left)
        answering = asyncio.create_task(answer("test", request, functools.partial(operation, made)))
        await _submitted(engine, answering)
        _after(turn, left.set)
        await _ends(answering, turn)
        assert engine.stream is not None
        assert engine.stream.mailbox.cancelled


# What each HTTP function of function_app.py calls: the module there, and the operation in it.
OPERATIONS = {
    "chat_completions": ("contracts.chat", "post"),
    "completions": ("contracts.completions", "post"),
    "detokenize": ("tokens", "detokenize"),
    "generate": ("plain", "post"),
    "generate_path": ("plain", "get"),
    "health": ("status", "health"),
    "hf": ("contracts.hf", "post"),
    "metrics": ("prometheus", "get"),
    "models": ("model_list", "many"),
    "models_one": ("model_list", "one"),
    "openapi": ("contract", "get"),
    "playground": ("page", "get"),
    "playground_chat": ("page", "chat"),
    "ready": ("status", "ready"),
    "reference": ("contract", "page"),
    "tokenize": ("tokens", "tokenize"),
    "tokenizer_info": ("tokens", "info"),
    "version": ("model_list", "version"),
}


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler may take a hundredth of a second instead of minutes."""
    for module in (handler, events):
        monkeypatch.setattr(module, "LIMIT_S", 0.01)


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize("name", OPERATIONS)
async def test_no_handler_outlives_the_limit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    module, operation = OPERATIONS[name]
    monkeypatch.setattr(attrgetter(module)(function_app), operation, never)
    request = _request({}, asyncio.Event())
    request.scope["path_params"]["model"] = "any"
    response = await getattr(function_app, name)(request)
    assert response.status_code == 503
    assert "could not be answered within" in str(json.loads(response.body)["error"])


def test_every_route_is_among_those_that_were_tried() -> None:
    handlers = [name for name, value in vars(function_app).items() if isinstance(value, type(function_app.health))]
    assert sorted({*OPERATIONS, "warmup"}) == sorted(handlers)


@pytest.mark.usefixtures("short_limit")
async def test_a_body_that_never_comes_ends_at_the_limit(service: Callable[[Engine], Any]) -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    request = Request(_request({}, asyncio.Event()).scope, receive)
    response = await answer("test", request, lambda one: completions.post(service(Engine(None)), one))
    assert response.status_code == 503


@pytest.mark.usefixtures("short_limit")
async def test_a_reader_that_takes_nothing_ends_at_the_limit() -> None:
    stream = TokenStream(lambda: None, Bell(), [Timeline()])
    stream.mailbox.post(Update(0, "a"))

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(_: Message) -> None:
        await asyncio.Event().wait()

    await EventStream(Exchange("test", _request({}, asyncio.Event())), stream, lambda _: "data: a\n\n", 60)(
        {"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send
    )
    assert stream.mailbox.cancelled
