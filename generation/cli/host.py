"""The embedded host: serve the functions of ``function_app.py`` on this machine, without the Functions host.

It is neither ``func start`` nor Azure. It reads functions, routes, methods and key levels from the app's metadata and
the route prefix from ``host.json``, and calls the same handlers. Like the real host, it matches routes in alphabetical
order of the function names, and the first match wins.
"""

import asyncio
import hmac
import json
import logging
import re
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from generation.cli.connections import LimitedConnection, limits
from generation.cli.host_limits import HEAD_BYTES, refusal
from generation.cli.host_path import PathError, compile_route, decode_path
from generation.observe.record import request_id

FLUSH_S = 5  # time for written responses to reach their clients
# Clients and proxies that reuse connections close them after at most 60 s without a request. The server must wait
# longer, because a request sent just when the server closes the connection would be lost.
KEEP_ALIVE_S = 75

Handler = Callable[..., Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One HTTP-triggered function.

    Attributes:
        name: name of the function.
        pattern: matches the paths of its route, with the prefix.
        methods: its HTTP methods.
        keyed: whether the Functions host requires a key.
        argument: name of the handler's parameter for the request.
        handler: the function.
    """

    name: str
    pattern: re.Pattern[str]
    methods: frozenset[str]
    keyed: bool
    argument: str
    handler: Handler


def route_prefix(host_json: Path) -> str:
    """Return the prefix of all routes, without slashes at its ends."""
    configuration = json.loads(host_json.read_text(encoding="utf-8"))
    return str(configuration.get("extensions", {}).get("http", {}).get("routePrefix", "api")).strip("/")


def endpoints(app: Any, host_json: Path) -> list[Endpoint]:
    """Read the HTTP functions of a `func.FunctionApp`, in the order in which the host matches them."""
    prefix = route_prefix(host_json)
    found = []
    for function in sorted(app.get_functions(), key=lambda one: str(one.get_function_name())):
        trigger = function.get_trigger()
        if trigger.get_binding_name() != "httpTrigger":
            continue
        name = function.get_function_name()
        found.append(
            Endpoint(
                name=name,
                pattern=compile_route(prefix, trigger.route or name),
                methods=frozenset(str(method) for method in trigger.methods or ("GET", "POST")),
                keyed=str(trigger.auth_level).upper() != "ANONYMOUS",
                argument=trigger.name,
                handler=function.get_user_function(),
            )
        )
    return found


class LocalHost:
    """An ASGI app that does the work of the Functions host before a handler: routes, methods and keys."""

    def __init__(self, app: Any, host_json: Path, key: str | None = None) -> None:
        self.endpoints = endpoints(app, host_json)
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        scope = {**scope, **{name: _origin_form(scope[name]) for name in ("path", "raw_path") if name in scope}}
        request = Request(scope, receive)
        response = await self._respond(request)
        if "x-request-id" not in response.headers:  # the response is not a handler's
            response.headers["x-request-id"] = request_id(request.headers)
        if {"content-length", "transfer-encoding"} <= set(request.headers):
            # RFC 9112, 6.1: a request with both may be an attempt at request smuggling.
            response.headers["connection"] = "close"
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if status := refusal(request.scope):
            return Response(status_code=status, headers={"connection": "close"})
        try:
            path = decode_path(request.scope["raw_path"])
        except PathError:
            return Response(status_code=400)
        for one in self.endpoints:
            match = one.pattern.fullmatch(path)
            if match is None or request.method not in one.methods:
                continue
            if one.keyed and not self._has_key(request):
                return Response(status_code=401)
            request.scope["path_params"] = {name: value for name, value in match.groupdict().items() if value}
            return await one.handler(**{one.argument: request})
        return not_found(request.method, path)

    def _has_key(self, request: Request) -> bool:
        """Return whether the request has the key, in the header or else in the query, as on the platform."""
        if self._key is None:
            return True
        given = request.headers.get("x-functions-key") or request.query_params.get("code") or ""
        return hmac.compare_digest(given.encode(), self._key.encode())


def not_found(method: str, path: str) -> Response:
    """Return the response for a route that does not exist."""
    message = f"there is no {method} {path[:200]}"
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": "not_found"}
    return JSONResponse({"error": error}, 404)


_AUTHORITY = re.compile(r"https?://[^/]*", re.IGNORECASE)


def _origin_form(path: str | bytes) -> str | bytes:
    """Return the path of a request target, without the scheme and host of the absolute form (RFC 9112, 3.2.2)."""
    if isinstance(path, bytes):
        return _AUTHORITY.sub("", path.decode("latin-1"), count=1).encode("latin-1") if path[:1] != b"/" else path
    return path if path.startswith("/") else _AUTHORITY.sub("", path, count=1)


def with_cors(host: LocalHost, origins: str) -> ASGIApp:
    """Add CORS for these origins, separated by commas; in Azure, the platform has a setting for it."""
    allowed = [one.strip() for one in origins.split(",") if one.strip()]
    if not allowed:
        return host
    return CORSMiddleware(
        host,
        allow_origins=allowed,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["x-request-id", "retry-after", "server-timing"],
    )


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


class Server(uvicorn.Server):
    """A uvicorn server that drains on a signal: it serves until the running requests have ended.

    The app answers requests that arrive meanwhile with 503.

    Attributes:
        listening: set once clients can connect.
    """

    def __init__(self, host: ASGIApp, address: str, grace_s: float, on_stop: Callable[[bool], object]) -> None:
        LimitedConnection.most, backlog = limits()
        # The http extension gives uvicorn's logger a handler of its own, with another format than the root logger's.
        uvicorns = logging.getLogger("uvicorn")
        uvicorns.handlers.clear()
        uvicorns.propagate = True
        # uvicorn logs each stream that a second signal ends as an error with a traceback.
        logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
        super().__init__(
            uvicorn.Config(
                host,
                host=address,
                http=LimitedConnection,
                h11_max_incomplete_event_size=HEAD_BYTES,
                backlog=backlog,
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=FLUSH_S,
            )
        )
        self.listening = threading.Event()
        self._on_stop = on_stop
        self._most_s = grace_s + FLUSH_S
        self._draining = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then set `listening`."""
        await super().startup(sockets)
        self.listening.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Handle SIGINT and SIGTERM. A second signal stops the server at once."""
        if self._draining:
            self.should_exit = self.force_exit = True
            return
        self._draining = True
        self._captured_signals.append(sig)
        threading.Thread(target=self._drain, args=(sig == signal.SIGINT,), name="drain", daemon=True).start()

    def _drain(self, now: bool) -> None:  # noqa: FBT001 - the argument of `on_stop`
        work = threading.Thread(target=self._on_stop, args=(now,), daemon=True)
        work.start()
        work.join(self._most_s)
        self.should_exit = True


def bind(address: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen yet.

    Binding before anything loads shows early whether the port is free, and which one is taken for port 0.

    Raises:
        OSError: the address or the port is not available.
        UnicodeError: the address cannot be a host name.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # With TCP given explicitly, asyncio disables Nagle's algorithm, which would delay small writes by 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except BaseException:
        listener.close()
        raise
    return listener
