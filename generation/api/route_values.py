"""Values of the route, as the Functions host hands them over."""

import re

from starlette.requests import Request

_SLASH = re.compile("%2F", re.IGNORECASE)


def route_value(request: Request, name: str) -> str:
    """Return a value of the route; empty if the path ends before it.

    The host decodes every escape of a path but that of a slash. So "%2F" and "%252F" arrive as the same text, "%2F",
    and both are taken for a slash.
    """
    return _SLASH.sub("/", request.path_params.get(name, ""))
