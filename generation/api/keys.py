"""The app's own API keys (the setting ``API_KEYS``), sent as ``Authorization: Bearer KEY``.

They replace the platform's function keys for clients that accept only a base URL and a key.
"""

import functools
import hmac
from collections.abc import Sequence
from hashlib import sha256

from starlette.responses import Response

from generation.api.exchange import Exchange, Operation
from generation.errors import UnauthorizedError


class ApiKeys:
    """Checks the bearer token of requests; without keys every request passes, because the platform checks its own."""

    def __init__(self, keys: Sequence[str]) -> None:
        # Digests have one length, so comparing them does not reveal the length of a key.
        self._digests = [_digest(key) for key in keys]

    def guard(self, operation: Operation) -> Operation:
        """Return the operation with a key check before it."""
        if not self._digests:
            return operation

        @functools.wraps(operation)
        async def guarded(exchange: Exchange) -> Response:
            self.check(exchange.request.headers.get("authorization", ""))
            return await operation(exchange)

        return guarded

    def check(self, authorization: str) -> None:
        """Check an ``Authorization`` header (RFC 6750, section 2.1) in a time that does not depend on the keys.

        Raises:
            UnauthorizedError: it has none of the keys.
        """
        scheme, _, token = authorization.strip().partition(" ")
        given = _digest(token.strip())
        # All keys are compared, whichever matches.
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        if scheme.lower() != "bearer" or not any(matches):
            problem = "the API key is wrong" if authorization else "the API key is missing"
            raise UnauthorizedError(f"{problem}: send a valid one as Authorization: Bearer KEY")


def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogateescape")).digest()
