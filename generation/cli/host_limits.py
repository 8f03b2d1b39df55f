"""Apply the limits of the Functions host to a request's URL and headers, which are those of its server, Kestrel.

Source: https://learn.microsoft.com/aspnet/core/fundamentals/servers/kestrel/options
"""

import h11
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

LINE_BYTES = 8 * 1024  # request line: method, URL, version and line break
HEADER_BYTES = 32 * 1024
HEADERS = 100
# Limit on an incomplete head. It exceeds the sum of the two limits, so that the server can tell which is exceeded.
HEAD_BYTES = 64 * 1024

URI_TOO_LONG, HEADERS_TOO_LARGE = 414, 431


def refusal(scope: Scope) -> int | None:
    """Return the status with which the host refuses a request because of its size, or None."""
    target = len(scope["raw_path"]) + (1 + len(scope["query_string"]) if scope["query_string"] else 0)
    if len(scope["method"]) + len(" ") + target + len(" HTTP/1.1\r\n") > LINE_BYTES:
        return URI_TOO_LONG
    headers = scope["headers"]
    size = sum(len(name) + len(": ") + len(value) + len("\r\n") for name, value in headers) + len("\r\n")
    return HEADERS_TOO_LARGE if size > HEADER_BYTES or len(headers) > HEADERS else None


class LimitedProtocol(H11Protocol):
    """Refuses a head that is too long to be parsed with the status of the limit that it exceeds."""

    def send_400_response(self, msg: str) -> None:
        """Refuse an invalid request: with 414 or 431 if it is too long, or else with 400."""
        head, _ = self.conn.trailing_data
        if len(head) <= HEAD_BYTES:
            super().send_400_response(msg)
            return
        status = HEADERS_TOO_LARGE if b"\n" in head[:LINE_BYTES] else URI_TOO_LONG
        response = h11.Response(status_code=status, headers=[("Connection", "close"), ("Content-Length", "0")])
        for event in (response, h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
