"""Stands in for the Functions host: routes, keys, and the proxy between the client and the worker's HTTP server.

What it knows of the app is what the worker told it. As in the real host, a request and its invocation travel apart: the
invocation names the function and carries the route's values, while the request itself is passed on, with the
invocation's id in a header, and the response streamed back. A client that leaves closes the connection to the worker.
"""

import asyncio
import hmac
import re
import uuid
from dataclasses import dataclass

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message as Event
from starlette.types import Receive, Scope, Send

from generation.cli.host_limits import refusal
from generation.cli.host_path import PathError, compile_route, decode_path
from tests.runtime.protos import Message, TypedData
from tests.runtime.worker import Function, Worker, WorkerError

HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding"}
INVOCATION_ID = b"x-ms-invocation-id"


@dataclass(frozen=True, slots=True)
class Route:
    """How requests find a function."""

    function: Function
    pattern: re.Pattern[str]
    methods: frozenset[str]
    keyed: bool


def routes(functions: list[Function], prefix: str) -> list[Route]:
    """Return the routes in the order in which the host matches them: by the functions' names."""
    found = []
    for one in sorted(functions, key=lambda function: function.name):
        if one.trigger["type"] == "httpTrigger":
            pattern = compile_route(prefix, one.trigger.get("route") or one.name)
            methods = frozenset(method.upper() for method in one.trigger.get("methods") or ("GET", "POST"))
            found.append(Route(one, pattern, methods, one.trigger["authLevel"].upper() != "ANONYMOUS"))
    return found


class Front:
    """The ASGI app that clients talk to.

    An old host keeps an invocation's id that the caller sends; today's host replaces it by its own.
    """

    def __init__(self, worker: Worker, prefix: str, key: str, *, old: bool = False) -> None:
        self._worker = worker
        self._old = old
        self._routes = routes(worker.functions, prefix)
        self._key = key
        self._client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None))  # noqa: S113
        self.failures: list[str] = []
        self.invoking = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        if status := refusal(scope):
            await Response(status_code=status)(scope, receive, send)
            return
        try:
            path = decode_path(scope["raw_path"])
        except PathError:
            await Response(status_code=400)(scope, receive, send)
            return
        for route in self._routes:
            match = route.pattern.fullmatch(path)
            if match is None or request.method not in route.methods:
                continue
            if route.keyed and not self._has_key(request):
                await Response(status_code=401)(scope, receive, send)
                return
            params = {name: value for name, value in match.groupdict().items() if value}
            await self._serve(route.function, request, params, send)
            return
        await Response(status_code=404)(scope, receive, send)

    async def warm_up(self) -> list[str]:
        """Call the warm-up triggers, as the host does on a new instance; return their names."""
        triggers = [one for one in self._worker.functions if one.trigger["type"] == "warmupTrigger"]
        for one in triggers:
            await self._worker.invoke(one, uuid.uuid4().hex)
        return [one.name for one in triggers]

    def _has_key(self, request: Request) -> bool:
        given = request.headers.get("x-functions-key") or request.query_params.get("code") or ""
        return hmac.compare_digest(given.encode(), self._key.encode())

    async def _serve(self, function: Function, request: Request, params: dict[str, str], send: Send) -> None:
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        invocation_id = str(uuid.uuid4())
        invocation = asyncio.create_task(self._invoke(function, invocation_id, request, params))
        forward = asyncio.create_task(self._forward(request, body, invocation_id, send))
        gone = asyncio.create_task(_until_gone(request.receive))
        try:
            await asyncio.wait({forward, gone}, return_when=asyncio.FIRST_COMPLETED)
            if forward.done():
                forward.result()
            else:
                forward.cancel()
            await invocation
        finally:
            gone.cancel()
            forward.cancel()

    async def _invoke(self, function: Function, invocation_id: str, request: Request, params: dict[str, str]) -> None:
        http = Message(
            method=request.method,
            url=str(request.url),
            headers=dict(request.headers),
            query=dict(request.query_params),
            params=params,
            body=TypedData(),
        )
        self.invoking += 1
        try:
            await self._worker.invoke(function, invocation_id, http)
        except WorkerError as error:
            self.failures.append(f"{function.name}: {error}")
        finally:
            self.invoking -= 1

    async def _forward(self, request: Request, body: bytes, invocation_id: str, send: Send) -> None:
        raw_path, query = request.scope["raw_path"], request.scope["query_string"]
        url = httpx.URL(self._worker.http_uri).copy_with(raw_path=raw_path + (b"?" + query if query else b""))
        headers = [(name, value) for name, value in request.headers.raw if name not in HOP_BY_HOP | {b"host"}]
        if not (self._old and INVOCATION_ID.decode() in request.headers):
            headers = [one for one in headers if one[0] != INVOCATION_ID]
            headers.append((INVOCATION_ID, invocation_id.encode()))
        forwarded = httpx.Request(request.method, url, headers=headers, content=body)
        response = await self._client.send(forwarded, stream=True)
        try:
            kept = [(name.lower(), value) for name, value in response.headers.raw]
            kept = [(name, value) for name, value in kept if name not in HOP_BY_HOP]
            await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
            async for chunk in response.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await response.aclose()


async def _until_gone(receive: Receive) -> None:
    event: Event = {}
    while event.get("type") != "http.disconnect":
        event = await receive()
