"""Find problems of a function app that would appear only in Azure, and neither in type checks nor in a local run."""

import inspect
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fastapi
from starlette.responses import Response

from generation.cli.host import endpoints

# Paths that the worker's HTTP server answers itself. A function with such a path is never called; its requests hang.
WORKER_PATHS = ("/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json")
# Paths that the host reserves.
HOST_PATHS = ("/", "/admin/host/status", "/runtime/webhooks/any")


def problems(functions: list[Any], host_json: Path) -> list[str]:
    """Return the problems of an app's functions, one line each.

    The argument is the list of functions, because `get_functions` of an app raises on the second call.
    """
    return [*_signatures(functions), *_routes(functions, host_json)]


def _http_triggers(functions: list[Any]) -> Iterator[tuple[str, Any, Any]]:
    for function in functions:
        trigger = function.get_trigger()
        if trigger.get_binding_name() == "httpTrigger":
            yield function.get_function_name(), trigger, function.get_user_function()


def _signatures(functions: list[Any]) -> Iterator[str]:
    for name, trigger, handler in _http_triggers(functions):
        hints = typing.get_type_hints(handler)
        returned = hints.get("return")
        if not isinstance(returned, type) or not issubclass(returned, Response):
            yield f"{name}: the return annotation must be one response class of the http extension, not {returned}"
        if hints.get(trigger.name) is not fastapi.Request:
            yield f"{name}: {trigger.name} must be annotated with the http extension's Request"
        if not inspect.iscoroutinefunction(handler):
            yield f"{name}: not async, so it takes a thread for as long as it generates"
        for parameter in set(inspect.signature(handler).parameters) - {trigger.name, "context"}:
            yield f"{name}: the parameter {parameter} is not bound to anything"


def _routes(functions: list[Any], host_json: Path) -> Iterator[str]:
    matched = endpoints(SimpleNamespace(get_functions=lambda: functions), host_json)
    prefix = json.loads(host_json.read_text(encoding="utf-8"))["extensions"]["http"]["routePrefix"]
    for name, trigger, _ in _http_triggers(functions):
        template = re.sub(r"\{\*\w+\}", "any/thing", trigger.route or name)
        path = "/" + f"{prefix}/{re.sub(r'{[^}]+}', 'any', template)}".strip("/")
        for method in trigger.methods or ("GET",):
            taker = next(one.name for one in matched if one.pattern.fullmatch(path) and str(method) in one.methods)
            if taker != name:
                yield f"{name}: {taker} sorts before it and takes {method} {path}"
    for one in matched:
        for path in (*WORKER_PATHS, *HOST_PATHS):
            if one.pattern.fullmatch(path):
                yield f"{one.name}: takes {path}, which the platform keeps for itself"
