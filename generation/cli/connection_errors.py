"""Explain for people why a request to a deployment got no response.

This is apart from `generation.cli.deployment` because importing HTTP and TLS takes longer than all the rest of the
command line.
"""

import errno
import socket
import ssl
from http.client import BadStatusLine

_NO_RESPONSE = "the server ended the connection without a response: does it speak https:// instead of http://?"
# Why a request got no response, by the type of the exception.
REASONS: tuple[tuple[type[Exception], str], ...] = (
    (socket.gaierror, "the host name cannot be resolved"),
    (TimeoutError, "no answer in time"),
    (ssl.SSLError, "no TLS connection: does the server speak http:// instead of https://?"),
    (BadStatusLine, _NO_RESPONSE),
    (ConnectionResetError, _NO_RESPONSE),
)


def explain(error: Exception) -> str:
    """Return for people why a request got no response."""
    # asyncio joins the errors of all addresses of a host into one text.
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return "connection refused: no server listens there"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ConnectionResetError) and error.errno is None and not isinstance(error, BadStatusLine):
        return str(error)  # a message of this project's own
    for kind, reason in REASONS:
        if isinstance(error, kind):
            return reason
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
