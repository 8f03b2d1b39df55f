"""Values of the route, as the Functions host passes them."""

import re

from starlette.requests import Request

_SLASH = re.compile("%2F", re.IGNORECASE)


def route_value(request: Request, name: str) -> str:
    """Return a value of the route; empty if the path has none.

    The host decodes every escape in a path except that of a slash. So "%2F" and "%252F" both arrive as "%2F", and both
    become a slash.
    """
    return _SLASH.sub("/", request.path_params.get(name, ""))
