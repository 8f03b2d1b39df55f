"""Turns operations into HTTP handlers that never raise, always end, and report errors in the API's form.

On Functions an exception from a handler becomes a bare 500 and can break the connection for other requests.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from azurefunctions.extensions.http.fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.responses import Response as AnyResponse

from generation.api.events import EventStream
from generation.api.exchange import CLIENT_LEFT, LIMIT_S, Exchange, Operation
from generation.errors import ApiError, DeadlineError, ErrorForm, SlowRequestError, openai_form
from generation.observe import delay

log = logging.getLogger("generation.requests")

CLIENT_CLOSED_REQUEST = 499  # as nginx logs it; the client does not read it


def handler(
    operation: Operation, route: str | None = None, error_form: ErrorForm = openai_form
) -> Callable[[Request], Awaitable[Response]]:
    """Return the HTTP handler of an operation, under the operation's name; spans show its `route` template.

    The worker reads the handler's annotations. They must name the http extension's own classes, and only one for the
    response; otherwise it does not stream or refuses the app.
    """

    async def handle(req: Request) -> Response:
        return await answer(operation.__name__, req, operation, route, error_form)

    handle.__name__, handle.__qualname__ = operation.__name__, operation.__qualname__
    handle.__doc__, handle.__module__ = operation.__doc__, operation.__module__
    setattr(handle, "operation", operation)  # noqa: B010 - mypy takes no new attribute on a function
    return handle


async def answer(
    name: str,
    request: Request,
    operation: Operation,
    route: str | None = None,
    error_form: ErrorForm = openai_form,
    *,
    limited: bool = True,
) -> Response:
    """Run `operation`; return its response, or the response for its error.

    Args:
        name: of the operation, in the log and in the metrics.
        request: the HTTP request.
        operation: returns the response.
        route: the path template, for spans.
        error_form: returns the status and the body of an error, as the contract wants them.
        limited: whether it must end within `LIMIT_S` seconds, the load balancer's limit.
    """
    delay.watch(asyncio.get_running_loop())
    exchange = Exchange(name, request, route, error_form)
    record = exchange.record
    error_code = None
    try:
        response = await _within_limit(operation(exchange), LIMIT_S if limited else None)
        if not isinstance(response, AnyResponse):
            raise TypeError(f"{name} returned {type(response).__name__} instead of a response")  # noqa: TRY301
    except ApiError as error:
        error_code = error.code
        status, content = error_form(error)
        response = JSONResponse(content, status, error.headers())
        if isinstance(error, SlowRequestError):
            response.headers["connection"] = "close"
    except ClientDisconnect:
        error_code = CLIENT_LEFT
        response = AnyResponse(status_code=CLIENT_CLOSED_REQUEST)
    except asyncio.CancelledError:
        record.answered(ApiError.status, "cancelled")
        raise
    except Exception:
        log.exception("request %s failed", record.id)
        unexpected = ApiError(f"an unexpected error happened; find it in the log by the request id {record.id}")
        error_code = unexpected.code
        status, content = error_form(unexpected)
        response = JSONResponse(content, status)
    response.headers.update(record.headers())
    # Generated text may look like HTML; browsers must not render it.
    response.headers["x-content-type-options"] = "nosniff"
    if not isinstance(response, EventStream):
        record.answered(response.status_code, error_code)
    return response


async def _within_limit(operation: Awaitable[AnyResponse], limit_s: float | None) -> AnyResponse:
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            return await operation
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineError(f"the request could not be answered within {LIMIT_S:g} s") from None
