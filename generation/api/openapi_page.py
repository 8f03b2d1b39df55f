"""The OpenAPI document as one HTML page: routes, fields, examples and responses."""

import base64
import hashlib
import json
from collections.abc import Iterable
from html import escape
from typing import Any

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
code,pre{font-family:ui-monospace,monospace;font-size:.9em}pre{background:#f4f4f4;padding:.75rem;overflow-x:auto}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #ddd}
h2{margin-top:2.5rem}b.method{display:inline-block;min-width:3.5rem}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}
pre{background:#222}a{color:#8bf}td,th{border-color:#333}}
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def render(document: dict[str, Any]) -> str:
    """Return the page."""
    operations = [
        (method.upper(), path, one) for path, methods in document["paths"].items() for method, one in methods.items()
    ]
    base = document["servers"][0]["url"]
    schemas = document["components"]["schemas"]
    index = "".join(
        f'<li><a href="#{escape(one["operationId"])}"><b class="method">{method}</b> '
        f"<code>{escape(base + path)}</code></a> {escape(one['summary'])}</li>"
        for method, path, one in operations
    )
    title = f"{document['info']['title']} {document['info']['version']}"
    sections = "".join(_operation(method, base + path, one, schemas) for method, path, one in operations)
    models = "".join(_model(name, schema) for name, schema in schemas.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1><p>{escape(document['info']['summary'])}. "
        f'<a href="openapi.json">OpenAPI document</a>.</p><ul>{index}</ul>{sections}<h2>Objects</h2>{models}'
        "</body></html>"
    )


def _operation(method: str, path: str, one: dict[str, Any], schemas: dict[str, Any]) -> str:
    parts = [f'<h2 id="{escape(one["operationId"])}">{method} {escape(path)}</h2><p>{escape(one["summary"])}.']
    parts.append(" Needs a key.</p>" if one["security"] else " Needs no key.</p>")
    if parameters := one.get("parameters"):
        rows = ((each["name"], each["schema"], each.get("description", "")) for each in parameters)
        parts.append(_table(rows))
    for media in one.get("requestBody", {}).get("content", {}).values():
        name = media["schema"].get("$ref", "").rpartition("/")[2]
        if name in schemas:
            parts.append(_fields(schemas[name]))
        for label, example in media.get("examples", {}).items():
            text = json.dumps(example["value"], ensure_ascii=False)
            parts.append(f"<p>Example: {escape(label)}</p><pre>{escape(text)}</pre>")
    answers = "".join(
        f"<li>{escape(status)}: {_answer(response)}</li>" for status, response in one["responses"].items()
    )
    return "".join(parts) + f"<p>Responses:</p><ul>{answers}</ul>"


def _answer(response: dict[str, Any]) -> str:
    if "$ref" in response:
        return '<a href="#Failure">an error</a>'
    kinds = (
        f"<code>{escape(media)}</code> {_kind(content.get('x-event', content.get('schema', {})))}"
        for media, content in response.get("content", {}).items()
    )
    return ", or ".join(kinds)


def _model(name: str, schema: dict[str, Any]) -> str:
    content = _fields(schema) if schema.get("properties") else f"<p>{_kind(schema)}</p>"
    return f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{escape(schema.get("description", ""))}</p>{content}'


def _fields(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    properties = schema.get("properties", {})
    return _table(
        (name, one, ("required. " if name in required else "") + one.get("description", ""))
        for name, one in properties.items()
    )


def _table(rows: Iterable[tuple[str, dict[str, Any], str]]) -> str:
    lines = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{_kind(schema)}</td><td>{escape(text)}"
        + (f" (default <code>{escape(json.dumps(schema['default']))}</code>)" if "default" in schema else "")
        + "</td></tr>"
        for name, schema, text in rows
    )
    return f"<table><tr><th>field</th><th>type</th><th>what</th></tr>{lines}</table>"


def _kind(schema: dict[str, Any]) -> str:
    """Return a JSON schema in a few words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_kind, schema["anyOf"])))
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"<code>{escape(json.dumps(one))}</code>" for one in values)
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    bounds = {"minimum": "\u2265", "exclusiveMinimum": ">", "maximum": "\u2264", "exclusiveMaximum": "<"}
    limits = " ".join(f"{sign} {schema[key]}" for key, sign in bounds.items() if key in schema)
    return escape(f"{kind} {limits}".strip())
