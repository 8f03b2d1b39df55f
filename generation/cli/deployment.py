"""Check the address, the key and the responses of a deployment, for the commands that call one."""

import json
import os
import re
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from generation.cli.option_types import KEY, KEY_ALLOWED
from generation.errors import InvalidRequestError

# Environment variables of the key.
BATCH_KEY, BENCH_KEY = "BATCH_KEY", "BENCH_KEY"
KEY_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_SPACE = re.compile(r"[^!-~]")


def check_address(url: str) -> None:
    """Check the value of ``--url``.

    Raises:
        InvalidRequestError: it is not the address of an HTTP server, or has a password, a query or a fragment.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number, or the host is not a valid IPv6 address
        valid = False
    if not valid or _SPACE.search(url):
        raise InvalidRequestError(f"--url={url!r} is not an http:// or https:// address")
    if parts.username is not None:
        raise InvalidRequestError("--url: must not contain a name or a password; pass a key with --key")
    if parts.query or parts.fragment:
        raise InvalidRequestError("--url: must end after the route prefix, such as /api; pass a key with --key")


def read_key(option: str | None, variable: str) -> str | None:
    """Return the key of ``--key``, or else of the environment variable; None if there is neither.

    Raises:
        InvalidRequestError: no header can carry the variable's value.
    """
    found = option or os.environ.get(variable) or None
    if found is not None and not KEY.fullmatch(found):
        raise InvalidRequestError(f"{variable}: {KEY_ALLOWED}")
    return found


def key_headers(key: str | None) -> dict[str, str]:
    """Return the headers for a key: one that the platform checks, and one that the app compares with `API_KEYS`."""
    return {"x-functions-key": key, "Authorization": f"Bearer {key}"} if key else {}


def error_code(content: bytes) -> str | None:
    """Return the code of an error in one of the app's forms; None for any other body, such as the platform's pages."""
    try:
        body = json.loads(content)
        code = body["error_type"] if "error_type" in body else body["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(code)[:64] if code else None


def read_health(url: str, status: int, content: bytes) -> dict[str, Any]:
    """Return the body of the app's ``GET /health``.

    Args:
        url: value of ``--url``.
        status: HTTP status of the response.
        content: body of the response.

    Raises:
        InvalidRequestError: the response is not this app's.
    """
    try:
        health = json.loads(content)
        if isinstance(health, dict) and isinstance(health["model"], dict | None):
            return health
    except (ValueError, KeyError):
        pass
    advice = ""
    if not urlsplit(url).path.strip("/"):
        advice = f"; --url must end in the route prefix: try {url.rstrip('/')}/api"
    message = f"--url: {url.rstrip('/')}/health does not answer as this app does (HTTP status {status}){advice}"
    raise InvalidRequestError(message)


def key_refused(url: str, status: int, key: str | None, variable: str) -> str:
    """Return the message for a deployment that refuses the key, or requires one, with a status of `KEY_REFUSED`."""
    if key is None:
        return f"{url} requires a key (HTTP status {status}): set {variable}, or pass --key"
    return f"{url} refuses the key of {variable} or --key (HTTP status {status})"
