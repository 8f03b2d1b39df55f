"""The worker's own HTTP server takes all that the host sends it, or the app refuses to start."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from azurefunctions.extensions.http.fastapi import web as extension
from starlette.convertors import PathConvertor, StringConvertor
from starlette.routing import Match

from generation.api.worker import HEAD_BYTES, KEEP_ALIVE_S, WorkerServerError, adapt_worker_server

HOST_KEEPS_S = 60  # idle connections to the worker
HOST_HEAD_BYTES = (8 + 32) * 1024  # of a request line and its headers


@pytest.fixture(autouse=True)
def genuine_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what other tests have adapted; adapt it again after the test."""
    config = vars(uvicorn.Config)["__init__"]
    if isinstance(config, functools.partialmethod):
        config = config.func
    monkeypatch.setattr(uvicorn.Config, "__init__", config)
    monkeypatch.setattr(PathConvertor, "regex", ".*")


def _made_by(serve: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extension.WebServer, "serve", serve)


def test_a_server_waits_longer_than_the_host() -> None:
    adapt_worker_server()
    assert uvicorn.Config(lambda _: None, log_config=None).timeout_keep_alive == KEEP_ALIVE_S > HOST_KEEPS_S


def test_a_server_takes_longer_heads_than_the_host() -> None:
    adapt_worker_server()
    size = uvicorn.Config(lambda _: None, log_config=None).h11_max_incomplete_event_size
    assert size is not None
    assert size == HEAD_BYTES > HOST_HEAD_BYTES


def test_a_path_with_a_line_feed_has_a_route() -> None:
    adapt_worker_server()
    app = extension.WebApp()
    app.route(lambda: None)
    scope = {"type": "http", "method": "GET", "path": "/a\nb", "root_path": "", "headers": []}
    assert any(route.matches(scope)[0] is Match.FULL for route in app.get_app().routes)


def test_adapting_twice_is_adapting_once() -> None:
    adapt_worker_server()
    adapt_worker_server()
    assert uvicorn.Config(lambda _: None, log_config=None).timeout_keep_alive == KEEP_ALIVE_S


def test_what_a_server_says_itself_is_kept() -> None:
    adapt_worker_server()
    assert uvicorn.Config(lambda _: None, log_config=None, timeout_keep_alive=7).timeout_keep_alive == 7


def test_the_probe_leaves_the_server_class_as_it_was() -> None:
    before = uvicorn.Server
    adapt_worker_server()
    assert uvicorn.Server is before


def test_an_extension_that_chooses_a_time_of_its_own_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(self: Any) -> None:
        await uvicorn.Server(uvicorn.Config(self.web_app, timeout_keep_alive=5)).serve()

    _made_by(serve, monkeypatch)
    with pytest.raises(WorkerServerError, match="idle connections for 5 s instead of 120 s"):
        adapt_worker_server()


def test_an_extension_with_another_server_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(self: Any) -> None:
        """Serve with something else."""

    _made_by(serve, monkeypatch)
    with pytest.raises(WorkerServerError, match="for None s"):
        adapt_worker_server()


def test_an_extension_that_limits_heads_itself_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(self: Any) -> None:
        await uvicorn.Server(uvicorn.Config(self.web_app, h11_max_incomplete_event_size=10)).serve()

    _made_by(serve, monkeypatch)
    with pytest.raises(WorkerServerError, match="takes 10 bytes of headers"):
        adapt_worker_server()


def test_an_extension_whose_route_takes_no_line_feed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def route(self: Any, handler: Callable[..., Any]) -> None:
        self.web_app.api_route("/{name}")(handler)

    monkeypatch.setattr(extension.WebApp, "route", route)
    monkeypatch.setattr(StringConvertor, "regex", "[^/\n]+")
    with pytest.raises(WorkerServerError, match="finds no route for a path with a line feed"):
        adapt_worker_server()
