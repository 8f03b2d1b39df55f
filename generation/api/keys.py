"""API keys of the app's own (the setting ``API_KEYS``), sent as ``Authorization: Bearer KEY``.

The alternative to the platform's function keys, for clients that take a base URL and a key and nothing else.
"""

import functools
import hmac
from collections.abc import Sequence
from hashlib import sha256

from starlette.responses import Response

from generation.api.exchange import Exchange, Operation
from generation.errors import UnauthorizedError


class ApiKeys:
    """Checks the bearer token of requests; without keys, every request passes, since the platform checks its own."""

    def __init__(self, keys: Sequence[str]) -> None:
        # Digests have one length, so comparing them tells nothing of the length of a key.
        self._digests = [_digest(key) for key in keys]

    def guard(self, operation: Operation) -> Operation:
        """Return the operation with the check before it."""
        if not self._digests:
            return operation

        @functools.wraps(operation)
        async def guarded(exchange: Exchange) -> Response:
            self.check(exchange.request.headers.get("authorization", ""))
            return await operation(exchange)

        return guarded

    def check(self, authorization: str) -> None:
        """Check the value of an ``Authorization`` header, in a time that depends on no key (RFC 6750, section 2.1).

        Raises:
            UnauthorizedError: it holds none of the keys.
        """
        scheme, _, token = authorization.strip().partition(" ")
        given = _digest(token.strip())
        # All keys are compared, whichever matches.
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        if scheme.lower() != "bearer" or not any(matches):
            problem = "the API key is wrong" if authorization else "the API key is missing"
            raise UnauthorizedError(f"{problem}: send one that this server knows, as Authorization: Bearer KEY")


def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogateescape")).digest()
