"""The OpenAPI 3.1 document of all routes, built from the models that validate requests."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from generation import __version__
from generation.api import responses as answers
from generation.api.openapi_operations import EVENTS, JSON, OPERATIONS, Operation

REFS = "#/components/schemas/{model}"
ERRORS = {
    400: "The request is wrong; `param` names the field.",
    401: "The key is missing or wrong. For a function key the Functions host answers, without a body.",
    404: "The model is not served here.",
    408: "The body did not arrive in time.",
    413: "The body is larger than the server accepts.",
    415: "The body is compressed.",
    422: "The request is wrong; `error` names the field.",
    424: "The computation of this request failed.",
    429: "The queue is full; try again after `Retry-After` seconds.",
    500: "An unexpected error; find it in the log by the request id.",
    503: "Not ready: loading, shutting down, or no token in time. With `Retry-After` if a retry can help.",
}
BODY_ERRORS = (408, 415)
WITH_RETRY = (429, 503)


SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "function": [{"header": []}, {"query": []}],
    "bearer": [{"bearer": []}],
    "anonymous": [],
}


def document(*, keys: str) -> dict[str, Any]:
    """Return the OpenAPI document.

    Args:
        keys: the keys of the keyed routes: ``function`` for the host's function key, ``bearer`` for the app's own API
            keys, ``anonymous`` for none.
    """
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        path = "/" + one.path.replace("{*", "{")
        paths.setdefault(path, {})[one.method] = _operation(one, SECURITY[keys] if one.keyed else [])
        if one.head:
            paths[path]["head"] = _head(paths[path][one.method])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "distilgpt2-functions",
            "version": __version__,
            "summary": "Text generation from a GPT-2 model through Azure Functions",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/api"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": {f"Error{status}": _error(status) for status in ERRORS if status not in (422, 424)},
            "headers": {
                "RequestId": {
                    "description": "the request's own x-request-id, or a new one; the log has it",
                    "schema": {"type": "string"},
                },
                "ServerTiming": {
                    "description": "time of each stage of the request, in milliseconds",
                    "schema": {"type": "string"},
                },
                "RetryAfter": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}},
            },
            "securitySchemes": {
                "header": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
                "query": {"type": "apiKey", "in": "query", "name": "code"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


class _Untitled(GenerateJsonSchema):
    """Omits the titles that pydantic derives from field names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def _schemas() -> dict[str, Any]:
    """Return the JSON schemas of all models, by name."""
    models: set[type[BaseModel]] = set()
    for one in OPERATIONS:
        models.update(model for model in (one.body, one.query, one.failure, *one.answers.values()) if model is not None)
    ordered = sorted(models, key=lambda model: model.__name__)
    _, found = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=REFS, schema_generator=_Untitled
    )
    schemas: dict[str, Any] = found["$defs"]
    return schemas


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFS.format(model=model.__name__)}


def _operation(one: Operation, security: list[dict[str, list[str]]]) -> dict[str, Any]:
    of_body = BODY_ERRORS if one.body else ()
    statuses = sorted({*one.errors, *of_body, *((401,) if security else ())})
    result: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "security": security,
        "responses": ({"200": _success(one)} if one.answers else {})
        | {str(status): _failure(one, status) for status in statuses},
    }
    if parameters := list(_parameters(one)):
        result["parameters"] = parameters
    elif one.examples:
        media: dict[str, Any] = {"schema": _ref(one.body) if one.body else {"type": "object"}}
        media["examples"] = {name: {"value": value} for name, value in one.examples.items()}
        result["requestBody"] = {"required": True, "content": {JSON: media}}
    return result


def _head(get: dict[str, Any]) -> dict[str, Any]:
    """Return the HEAD operation that belongs to a GET operation: the same statuses and headers, and no content."""
    described = {status: _error(int(status)) if status != "200" else one for status, one in get["responses"].items()}
    bodiless = {
        status: {name: value for name, value in one.items() if name != "content"} for status, one in described.items()
    }
    return get | {
        "operationId": f"{get['operationId']}_head",
        "summary": f"{get['summary']}, by status alone",
        "responses": bodiless,
    }


def _success(one: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for media, model in one.answers.items():
        if media == EVENTS and model is not None:
            content[media] = {"schema": _event(one, model), "x-event": _ref(model)}
        else:
            content[media] = {"schema": _ref(model) if model else {"type": "object" if media == JSON else "string"}}
    return {"description": "Done.", "headers": _headers(), "content": content}


def _event(one: Operation, model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of one event of a stream: an object with its fields, as OpenAPI 3.2 defines it."""
    of_model: dict[str, Any] = {"type": "string", "contentMediaType": JSON}
    of_model["contentSchema"] = {"anyOf": [_ref(model), _ref(one.failure)]}
    description = f"JSON: a {model.__name__}, or an error that ended the stream"
    data = {"description": description, **of_model}
    if one.done:
        data = {"description": f"{description}; the last event is [DONE]", "anyOf": [of_model, {"const": "[DONE]"}]}
    return {
        "type": "object",
        "description": "One server-sent event.",
        "properties": {"data": data},
        "required": ["data"],
    }


def _failure(one: Operation, status: int) -> dict[str, Any]:
    """Return the response of an operation for an error; those that share a model share it."""
    if one.failure is answers.Failure or status == 401:  # noqa: PLR2004
        return {"$ref": f"#/components/responses/Error{status}"}
    return _error(status, one.failure)


def _error(status: int, failure: type[BaseModel] = answers.Failure) -> dict[str, Any]:
    if status == 401:  # noqa: PLR2004
        return {"description": ERRORS[status]}
    headers = _headers("RetryAfter") if status in WITH_RETRY else _headers()
    return {
        "description": ERRORS[status],
        "headers": headers,
        "content": {JSON: {"schema": _ref(failure)}},
    }


def _headers(*more: str) -> dict[str, Any]:
    names = {"RequestId": "x-request-id", "ServerTiming": "Server-Timing", "RetryAfter": "Retry-After"}
    return {names[one]: {"$ref": f"#/components/headers/{one}"} for one in ("RequestId", "ServerTiming", *more)}


def _parameters(one: Operation) -> Iterable[dict[str, Any]]:
    """Yield the parameters in the path, then those in the query."""
    example = next(iter(one.examples.values()), {})
    in_path = [part.strip("{*}") for part in one.path.split("/") if part.startswith("{")]
    for name in in_path:
        values = {"example": example[name]} if name in example else {}
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} | values
    if one.query is None:
        return
    for name, schema in one.query.model_json_schema(schema_generator=_Untitled)["properties"].items():
        if name not in in_path:
            description = schema.pop("description")
            values = {"example": example[name]} if name in example else {}
            yield {"name": name, "in": "query", "description": description, "schema": _of_query(schema)} | values


def _of_query(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field as it is in a query: there is no null, and a list is a repeated parameter."""
    kinds = [kind for kind in schema.pop("anyOf", []) if kind != {"type": "null"}]
    if kinds:
        schema.pop("default", None)
        schema |= kinds[-1]
    return schema
