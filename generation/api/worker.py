"""Adapts the HTTP server that Azure's Python worker starts in this process to the Functions host in front of it.

The http extension creates that server, uvicorn with its defaults, after it has imported ``function_app.py``. If the
server loses or refuses a request by itself, the host's invocation never ends.
"""

import functools
import logging
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import uvicorn
from azurefunctions.extensions.http.fastapi import Request
from azurefunctions.extensions.http.fastapi import web as extension
from starlette.convertors import PathConvertor
from starlette.routing import Match

# The host keeps idle connections to the worker for a minute and reuses them. A POST on a connection that the worker
# is closing is lost, and its caller never gets an answer. So the worker must keep connections longer than the host.
KEEP_ALIVE_S = 120
# Bytes of a request line with its headers. The host accepts 8 KiB and 32 KiB and adds headers of its own. By default
# h11 refuses more than 16 KiB in pieces.
HEAD_BYTES = 128 * 1024
# The worker's one route is "/{path:path}", in which Starlette accepts any path without a line feed.
ANY_PATH = "(?s:.*)"
TWO_LINES = "/first line\nsecond line"


class WorkerServerError(Exception):
    """The http extension creates its server in a way that cannot be adapted."""


@dataclass(frozen=True, slots=True)
class WorkerServer:
    """The properties of the extension's server that matter here; None where it sets none."""

    keep_alive_s: float | None
    head_bytes: int | None
    takes_line_feeds: bool


def adapt_worker_server() -> None:
    """Adapt the worker's server to the host: idle connections, long heads, line feeds in paths; no access log.

    Raises:
        WorkerServerError: the extension's server cannot be adapted.
    """
    # The access log would contain function keys and prompts. A filter survives, because uvicorn replaces only handlers.
    logging.getLogger("uvicorn.access").addFilter(lambda _: False)
    with_defaults = functools.partialmethod(
        vars(uvicorn.Config)["__init__"], timeout_keep_alive=KEEP_ALIVE_S, h11_max_incomplete_event_size=HEAD_BYTES
    )
    setattr(uvicorn.Config, "__init__", with_defaults)  # noqa: B010 - mypy takes no assignment to a method
    PathConvertor.regex = ANY_PATH
    made = _make_server()
    if made.keep_alive_s != KEEP_ALIVE_S:
        raise _unfit(f"keeps idle connections for {made.keep_alive_s} s instead of {KEEP_ALIVE_S} s")
    if made.head_bytes != HEAD_BYTES:
        raise _unfit(f"takes {made.head_bytes} bytes of headers instead of {HEAD_BYTES}")
    if not made.takes_line_feeds:
        raise _unfit("finds no route for a path with a line feed")


def _unfit(what: str) -> WorkerServerError:
    name = "azurefunctions-extensions-http-fastapi"
    return WorkerServerError(
        f"{name} {version(name)} makes a server that {what}, so requests would be lost: "
        "install the version that requirements.txt names"
    )


def _make_server() -> WorkerServer:
    """Have the extension create its server, with a route as the worker adds it; return its properties."""
    made: list[Any] = []

    class Recorder:
        def __init__(self, config: Any) -> None:
            made.append(config)

        async def serve(self) -> None:
            """Serve nothing."""

    async def every_request(request: Request) -> None:
        """Answer nothing."""

    web_app = extension.WebApp()
    web_app.route(every_request)
    genuine = uvicorn.Server
    setattr(uvicorn, "Server", Recorder)  # noqa: B010
    serving = extension.WebServer("127.0.0.1", 0, web_app).serve()
    try:
        serving.send(None)
    except StopIteration:
        pass
    finally:
        serving.close()
        setattr(uvicorn, "Server", genuine)  # noqa: B010
    config = made[0] if made else None
    scope = {"type": "http", "method": "GET", "path": TWO_LINES, "root_path": "", "headers": []}
    return WorkerServer(
        keep_alive_s=getattr(config, "timeout_keep_alive", None),
        head_bytes=getattr(config, "h11_max_incomplete_event_size", None),
        takes_line_feeds=any(route.matches(scope)[0] is Match.FULL for route in web_app.get_app().routes),
    )
