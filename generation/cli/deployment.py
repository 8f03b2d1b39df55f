"""What the commands that call a deployment share: its address, the key, and the code of an error."""

import json
from urllib.parse import urlsplit

from generation.errors import InvalidRequestError


def check_address(url: str) -> None:
    """Check the value of ``--url``.

    Raises:
        InvalidRequestError: it is not the address of an HTTP server.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number
        valid = False
    if not valid:
        raise InvalidRequestError(f"--url={url!r} is no http:// or https:// address")


def key_headers(key: str | None) -> dict[str, str]:
    """Return the headers for a key: the platform looks for its function key, the app for one of `API_KEYS`."""
    return {"x-functions-key": key, "Authorization": f"Bearer {key}"} if key else {}


def error_code(content: bytes) -> str | None:
    """Return the code of an error in one of the app's shapes; None for any other body, such as the platform's pages."""
    try:
        body = json.loads(content)
        code = body["error_type"] if "error_type" in body else body["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(code)[:64] if code else None
