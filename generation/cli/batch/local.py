"""Answer lines in this process with the operations of the HTTP API, keeping the engine's batch full."""

import asyncio
import json
import math
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from generation.api.handler import answer
from generation.cli.batch.answer import Answer
from generation.cli.batch.lines import Line
from generation.cli.batch.runner import StoppedError
from generation.cli.host import Endpoint, not_found
from generation.errors import OverloadedError
from generation.service import Service, State

POLL_S = 0.01
# Rows of the batch where only throughput counts. A step of 64 rows takes three times as long as one of 16, and more
# memory.
ROWS, LEAST_MEMORY = 64, 2 << 30


def widen(environment: MutableMapping[str, str], memory: int) -> None:
    """Set ``MAX_RUNNING`` to `ROWS`, unless it is set or `memory`, in bytes, is less than `LEAST_MEMORY`."""
    if not environment.get("MAX_RUNNING", "").strip() and memory >= LEAST_MEMORY:
        environment["MAX_RUNNING"] = str(ROWS)


class LocalBackend:
    """Answers lines with the functions of ``function_app.py``, without a server and without its time limits.

    Args:
        endpoints: the functions, in the order in which the host matches them.
        service: the service that they use, with its model loaded.
        prefix: prefix of all routes, which a line may omit.
        limit: maximum number of concurrent lines; None for one full batch running and another waiting.
    """

    note = ""

    def __init__(self, endpoints: Sequence[Endpoint], service: Service, prefix: str, limit: int | None = None) -> None:
        self._endpoints, self._service, self._prefix = endpoints, service, prefix
        self._rows = service.settings.max_running
        self.limit = limit or 2 * self._rows
        self._refused = asyncio.Lock()
        service.settings = replace(service.settings, timeout_s=math.inf)

    async def open(self) -> None:
        """Check that the model is loaded.

        Raises:
            NotReadyError: loading failed.
        """
        self._service.loaded()

    def close(self) -> None:
        """Do nothing: the caller stops the service."""

    async def answer(self, line: Line, stop: asyncio.Event) -> Answer | None:  # noqa: ARG002 - the interface
        """Answer a line.

        Raises:
            StoppedError: the engine has failed.
        """
        response = await self._respond(line)
        if response.status_code == OverloadedError.status:
            # One at a time, so that the refused lines do not all encode their prompts at every try.
            async with self._refused:
                waiting = self._rows
                while response.status_code == OverloadedError.status:
                    await self._queue_of(waiting)
                    response = await self._respond(line)
                    waiting //= 2  # an empty queue accepts a request of any size
        if self._service.state is not State.READY:
            raise StoppedError(f"the model cannot answer any more: {self._service.reason or self._service.state}")
        return Answer.response(response.status_code, response.headers.get("x-request-id"), bytes(response.body))

    async def _queue_of(self, most: int) -> None:
        """Wait until at most `most` requests are in the queue."""
        engine = self._service.loaded().engine
        while engine.waiting > most:  # noqa: ASYNC110 - the engine has no event for this
            await asyncio.sleep(POLL_S)

    async def _respond(self, line: Line) -> Response:
        path = line.url if line.url.startswith(f"{self._prefix}/") else self._prefix + line.url
        for one in self._endpoints:
            match = one.pattern.fullmatch(path)
            if match is not None and "POST" in one.methods:
                request = _request(path, match.groupdict(), json.dumps(line.body).encode())
                operation: Callable[..., Any] = getattr(one.handler, "operation")  # noqa: B009 - of no type's
                response: Response = await answer(one.name, request, operation, limited=False)
                return response
        return not_found("POST", path)


def _request(path: str, parameters: dict[str, str | None], content: bytes) -> Request:
    """Return a request like a host's, from a client that stays connected."""
    parts = [content]

    async def receive() -> MutableMapping[str, Any]:
        if parts:
            return {"type": "http.request", "body": parts.pop(), "more_body": False}
        return await asyncio.Future()  # the client never disconnects

    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [],
        "path_params": {name: value for name, value in parameters.items() if value},
    }  # fmt: skip
    return Request(scope, receive)
