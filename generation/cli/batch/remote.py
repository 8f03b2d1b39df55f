"""Answer lines with a deployment: retry as its responses ask, with the concurrency that it can handle."""

import asyncio
import json
import random
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from generation.cli.batch.answer import Answer
from generation.cli.batch.client import Client, ConnectionBrokenError, Reply
from generation.cli.batch.level import Level, queue_s
from generation.cli.batch.lines import Line
from generation.cli.batch.runner import StoppedError
from generation.cli.deployment import BATCH_KEY, KEY_REFUSED, error_code, key_refused, read_health
from generation.errors import ApiError, NotReadyError

# Longer than the load balancer's timeout, so that the deployment reports how a request ended.
TIMEOUT_S = 240.0
# A line fails permanently after this many failed attempts during which other lines were answered.
ATTEMPTS = 8
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
SHORTEST_RETRY_AFTER_S, LONGEST_RETRY_AFTER_S = 0.1, 120.0


class NoAnswerError(ApiError):
    """A line got no answer after all attempts."""

    code = "no_answer"


class RemoteBackend:
    """Answers lines with a deployment.

    Args:
        url: address of the deployment, with the route prefix.
        key: function key or API key.
        limit: maximum number of concurrent requests.
        patience_s: seconds without any answer after which the run ends.
    """

    def __init__(self, url: str, key: str | None, limit: int, patience_s: float) -> None:
        self._client = Client(url, key, TIMEOUT_S)
        self._url, self._key, self._patience_s = url, key, patience_s
        self._level = Level(limit)
        self._answers = 0
        self._heard = time.monotonic()

    @property
    def limit(self) -> int:
        """The number of requests that may run now."""
        return self._level.limit

    @property
    def note(self) -> str:
        """The concurrency, for the progress line."""
        return f", {self.limit} at once"

    async def open(self) -> None:
        """Check that this app answers at the address.

        Raises:
            InvalidRequestError: another server answers.
            StoppedError: no server answers.
        """
        try:
            reply = await self._client.send("GET", "/health")
        except ConnectionBrokenError as error:
            raise StoppedError(f"{self._url} cannot be reached: {error}") from None
        read_health(self._url, reply.status, reply.body)
        self._heard = time.monotonic()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    async def answer(self, line: Line, stop: asyncio.Event) -> Answer | None:
        """Send a line until it is answered; return None if `stop` is set while it waits to be sent again.

        Raises:
            StoppedError: the key is refused, or nothing has been answered for a long time.
        """
        prefix = self._client.prefix
        path = line.url.removeprefix(prefix) if line.url.startswith(f"{prefix}/") else line.url
        content = json.dumps(line.body).encode()
        failed = waits = 0
        while True:
            sent, answers = self._level.round, self._answers
            reply, why = None, ""
            try:
                reply = await self._client.send("POST", path, content)
            except ConnectionBrokenError as error:
                why = str(error)
            if reply is not None:
                self._check_key(reply)
                if _is_final(reply):
                    self._answers += 1
                    self._heard = time.monotonic()
                    self._level.answered(sent, queue_s(reply.headers.get("server-timing", "")))
                    return Answer.response(reply.status, reply.headers.get("x-request-id"), reply.body)
            # If other lines were answered meanwhile, the failure concerns this line, or else the deployment.
            others = self._answers > answers
            if _is_busy(reply) or not others:
                self._level.congested(sent)
            if not _is_busy(reply) and (others or (reply is not None and error_code(reply.body) is not None)):
                failed += 1
            if failed == ATTEMPTS:
                return _give_up(reply, why)
            self._check_patience(reply, why)
            if await _is_set_within(stop, _wait_s(reply, waits)):
                return None
            waits += 1

    def _check_key(self, reply: Reply) -> None:
        if reply.status in KEY_REFUSED:
            raise StoppedError(key_refused(self._url, reply.status, self._key, BATCH_KEY))

    def _check_patience(self, reply: Reply | None, why: str) -> None:
        silent_s = time.monotonic() - self._heard
        if silent_s > self._patience_s:
            last = f"status {reply.status}" if reply is not None else why
            raise StoppedError(f"{self._url} has answered nothing for {silent_s:.0f} s; the last was: {last}")


def _is_ours(reply: Reply) -> bool:
    """Return whether the response is the app's, and not the platform's."""
    return reply.status == HTTPStatus.OK or error_code(reply.body) is not None


def _is_final(reply: Reply) -> bool:
    """Return whether sending the line again cannot lead to another response."""
    again = reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR or reply.status in {
        HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS
    }  # fmt: skip
    return not again and _is_ours(reply)


def _is_busy(reply: Reply | None) -> bool:
    """Return whether the deployment says that it is busy or not ready."""
    return reply is not None and (
        reply.status == HTTPStatus.TOO_MANY_REQUESTS or error_code(reply.body) == NotReadyError.code
    )


def _give_up(reply: Reply | None, why: str) -> Answer:
    if reply is not None:
        return Answer.response(reply.status, reply.headers.get("x-request-id"), reply.body)
    return Answer.failure(NoAnswerError(f"no answer, however often the line was sent: {why}"))


def _wait_s(reply: Reply | None, waits: int) -> float:
    """Return the seconds to wait before the next attempt: those in the response, or else with exponential backoff."""
    said = None if reply is None else retry_after_s(reply.headers)
    if said is not None:
        return min(max(said, SHORTEST_RETRY_AFTER_S), LONGEST_RETRY_AFTER_S)
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(waits, 16))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - no secret: so that not all come back at once


def retry_after_s(headers: dict[str, str]) -> float | None:
    """Return the seconds from ``retry-after-ms`` or ``Retry-After`` (RFC 9110: seconds or a date), if given."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            return max(0.0, float(text) * unit)
        except ValueError:
            pass
    try:
        date = float(parsedate_to_datetime(headers.get("retry-after", "")).timestamp())
        return max(0.0, date - time.time())
    except (ValueError, TypeError):
        return None


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
