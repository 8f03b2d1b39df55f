"""Send the load of ``bench`` over HTTP: streams of ``POST /api/v1/completions``, in a closed or an open loop.

A closed loop keeps a number of clients busy, each with one request after the other. An open loop sends requests at a
fixed rate, regardless of outstanding requests, like real traffic; its times count from the moment a request was due, so
that a stalling server cannot hide its queue. It needs only the standard library, and one thread per stream.
"""

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from generation.cli.bench_report import Outcome
from generation.cli.deployment import error_code, key_headers

MOST_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Load:
    """The load: address, requests and duration.

    Attributes:
        url: address of the deployment, ending in the route prefix.
        key: function key, or one of the app's API keys.
        body: body of every request, without its seed.
        clients: number of clients of a closed loop.
        rate: requests per second of an open loop; None for a closed loop.
        requests: maximum number of requests.
        duration_s: seconds after which no request is sent.
        timeout_s: maximum seconds that one request may take.
    """

    url: str
    key: str | None
    body: dict[str, Any]
    clients: int
    rate: float | None
    requests: int
    duration_s: float
    timeout_s: float


def connect(load: Load) -> http.client.HTTPConnection:
    """Return a connection to the deployment; the first request opens it."""
    parts = urlsplit(load.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=load.timeout_s)


def ask(load: Load, method: str, path: str, body: dict[str, Any] | None = None) -> http.client.HTTPResponse:
    """Send one request on a new connection; return the response, whose body has not been read."""
    connection = connect(load)
    headers = {"Content-Type": "application/json", "Connection": "close", **key_headers(load.key)}
    content = None if body is None else json.dumps(body)
    connection.request(method, urlsplit(load.url).path.rstrip("/") + path, content, headers)
    return connection.getresponse()


def stream(load: Load, number: int, due: float) -> Outcome:
    """Send request `number`, which was due at `due` (by `time.perf_counter`); return its outcome."""
    outcome = Outcome(due)
    try:
        with ask(load, "POST", "/v1/completions", load.body | {"seed": number}) as response:
            if response.status != http.client.OK:
                outcome.error = f"HTTP {response.status} {error_code(response.read(1 << 16)) or ''}".strip()
            else:
                _read(response, outcome, load.timeout_s)
    except TimeoutError:
        outcome.error = "timeout"
    except (OSError, http.client.HTTPException) as error:
        outcome.error = type(error).__name__
    except (ValueError, KeyError, TypeError, AttributeError):
        outcome.error = "the stream is not this app's"
    outcome.ended = time.perf_counter()
    return outcome


def _read(response: http.client.HTTPResponse, outcome: Outcome, timeout_s: float) -> None:
    """Read events to the end of the stream."""
    while line := response.readline():
        now = time.perf_counter()
        if now - outcome.due > timeout_s:
            raise TimeoutError
        if line.startswith(b"data: [DONE]"):
            return
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if "error" in event:
            outcome.error = f"stream {event['error'].get('code')}"
        elif event.get("usage"):
            outcome.tokens = event["usage"]["completion_tokens"]
        else:
            outcome.events.append(now)
    if outcome.error is None:
        outcome.error = "stream broke off"


@dataclass(slots=True)
class Run:
    """A running load. `outcomes` may be read at any time, and `on_progress` is called several times per second."""

    load: Load
    on_progress: Callable[["Run"], None]
    outcomes: list[Outcome] = field(default_factory=list)
    begun: float = field(default_factory=time.perf_counter)
    left_out: int = 0
    stopped: bool = False
    _sent: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Send everything and wait for the responses; Ctrl-C ends the run early and keeps the outcomes so far."""
        threads: list[threading.Thread] = []
        try:
            if self.load.rate is None:
                threads += [self._thread(self._client) for _ in range(self.load.clients)]
            else:
                self._arrivals(threads, self.load.rate)
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
                    self.on_progress(self)
        except KeyboardInterrupt:
            self.stopped = True
        self.on_progress(self)

    def _next(self) -> int | None:
        """Return the number of the next request, or None if there is none to send."""
        with self._lock:
            late = time.perf_counter() - self.begun >= self.load.duration_s
            if late or self.stopped or self._sent >= self.load.requests:
                return None
            self._sent += 1
            return self._sent

    def _client(self) -> None:
        while (number := self._next()) is not None:
            self.outcomes.append(stream(self.load, number, time.perf_counter()))

    def _arrivals(self, threads: list[threading.Thread], rate: float) -> None:
        """Start requests at random times, `rate` per second on average (a Poisson process)."""
        moments = random.Random(1)  # noqa: S311 - the same load each time
        due = self.begun
        while (number := self._next()) is not None:
            while (wait := due - time.perf_counter()) > 0:
                time.sleep(min(wait, 0.2))
                self.on_progress(self)
            threads[:] = [thread for thread in threads if thread.is_alive()]
            if len(threads) >= MOST_AT_ONCE:
                self.left_out += 1
            else:
                threads.append(self._thread(self._one, number, due))
            due += moments.expovariate(rate)

    def _one(self, number: int, due: float) -> None:
        self.outcomes.append(stream(self.load, number, due))

    def _thread(self, work: Callable[..., None], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        return thread
