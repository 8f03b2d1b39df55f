"""The engine: a thread that runs steps of continuous batching, and the thread-safe interface to it."""

import logging
import threading
import time
from collections.abc import Sequence as SequenceOf
from weakref import WeakSet

from generation.engine.core import EngineCore
from generation.engine.group import Group
from generation.engine.interface import LanguageModel
from generation.engine.prefix import PrefixCache
from generation.engine.request import GenerationRequest
from generation.engine.scheduler import Limits, Scheduler
from generation.engine.sequence import TextCodec
from generation.engine.speculation import Speculation
from generation.engine.stream import TokenStream
from generation.errors import ApiError, NotReadyError
from generation.observe.telemetry import Telemetry
from generation.observe.timeline import Timeline

log = logging.getLogger(__name__)

_FAILED = "the engine has failed; this instance must be restarted"
_AGAIN = "the engine has failed and was restarted; try again"
RESTARTS = 1


class Engine:
    """Runs all requests in one batch of a model. Every public method is thread-safe.

    An internal error ends every request. The engine then restarts with an empty queue and an empty cache, at most
    `RESTARTS` times. The next internal error is kept as `failure`, and the process must be replaced.

    Attributes:
        telemetry: receives the metrics of the engine.
        failure: the error that stopped the engine for good, or None.
    """

    def __init__(
        self,
        model: LanguageModel,
        codec: TextCodec,
        limits: Limits,
        prefix: PrefixCache | None = None,
        speculation: Speculation | None = None,
        *,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.telemetry = telemetry or Telemetry()
        self._model, self._limits, self._prefix, self._speculation = model, limits, prefix, speculation
        self._core = self._make_core()
        self._codec = codec
        self._streams: WeakSet[TokenStream] = WeakSet()
        self._condition = threading.Condition()
        self._stop_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.failure: BaseException | None = None

    def _make_core(self) -> EngineCore:
        prefix = PrefixCache(self._prefix.capacity) if self._prefix else None
        return EngineCore(self._model, self._limits, prefix, self._speculation, telemetry=self.telemetry)

    @property
    def _scheduler(self) -> Scheduler:
        return self._core.scheduler

    def start(self) -> None:
        """Start the engine's thread."""
        self._thread.start()

    def submit(self, *requests: GenerationRequest) -> TokenStream:
        """Queue either all requests or none, and return the stream of their results.

        Call this on an event loop, and read the stream on the same loop.

        Raises:
            NotReadyError: the engine is stopping or has failed.
            TooLargeError: a request would not fit even on an idle server.
            OverloadedError: the queue is full.
        """
        now = time.monotonic()
        stream = TokenStream(self._notify, self._core.bell, [Timeline(now, len(one.prompt)) for one in requests])
        try:
            self._enqueue(requests, stream)
        except ApiError as error:
            self.telemetry.rejected(error.code)
            raise
        return stream

    def _enqueue(self, requests: SequenceOf[GenerationRequest], stream: TokenStream) -> None:
        self._scheduler.check(requests)
        groups = []
        for request, timeline in zip(requests, stream.timelines, strict=True):
            deadline = timeline.submitted + request.timeout_s
            groups.append(Group(request, self._codec, stream.mailbox, deadline, timeline, self.telemetry))
        with self._condition:
            if self.failure is not None:
                raise NotReadyError(_FAILED)
            if self._stop_at is not None:
                raise NotReadyError("this instance is shutting down; try again", retry_after_s=1)
            self._scheduler.add(groups, self._core.pace.backlog_s(*self._scheduler.backlog()))
            self._streams.add(stream)
            self._condition.notify()

    def stop(self, grace_s: float = 0.0) -> None:
        """Refuse new requests, let accepted ones run for at most `grace_s` seconds, and join the thread."""
        with self._condition:
            self._stop_at = time.monotonic() + grace_s
            self._condition.notify()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def running(self) -> int:
        """Number of sequences in the batch."""
        return 0 if self.failure else len(self._scheduler.running)

    @property
    def waiting(self) -> int:
        """Number of requests with a prompt in the queue."""
        return 0 if self.failure else self._scheduler.waiting_requests

    @property
    def reserved_tokens(self) -> int:
        """Cache tokens reserved for admitted prompts, including tokens still to be generated."""
        return 0 if self.failure else self._scheduler.reserved_tokens

    @property
    def cache_tokens(self) -> int:
        """Capacity of the cache in tokens."""
        return self._scheduler.limits.tokens

    def _notify(self) -> None:
        with self._condition:
            self._condition.notify()

    def _run(self) -> None:
        while not self._ended():
            pass

    def _ended(self) -> bool:
        """Run steps until the engine ends; return False after a restart, to continue with the new core."""
        try:
            while self._begin_step():
                self._core.step()
        except BaseException as error:
            log.exception("the engine has failed")
            with self._condition:
                again = isinstance(error, Exception) and self.telemetry.restarts < RESTARTS and self._stop_at is None
                self._end_all(NotReadyError(_AGAIN, retry_after_s=1) if again else NotReadyError(_FAILED))
                if not again or not self._restart():
                    self.failure = error
                    return True
            return False
        return True

    def _restart(self) -> bool:
        """Restart with an empty queue and an empty cache; return whether that succeeded."""
        try:
            limits = self._limits
            for row in range(limits.rows + limits.guests + limits.staging):
                self._model.cache.release(row)
            core = self._make_core()
            core.bell = self._core.bell  # mailboxes of requests being submitted right now hold this bell
            self._core = core
        except Exception:
            log.exception("the engine cannot be restarted")
            return False
        self.telemetry.restarts += 1
        log.warning("the engine was restarted")
        return True

    def _begin_step(self) -> bool:
        """Wait for work and admit new requests; return False when the engine must end."""
        with self._condition:
            self._core.sweep_and_admit()
            while not self._scheduler.busy:
                if self._stop_at is not None:
                    return False
                self._condition.wait()
                self._core.sweep_and_admit()
            if self._stop_at is not None and time.monotonic() >= self._stop_at:
                self._core.shut_down(NotReadyError("this instance was shut down; try again", retry_after_s=1))
                return False
            return True

    def _end_all(self, error: ApiError) -> None:
        for group in self._scheduler.groups():
            group.close(error)
        for stream in list(self._streams):
            # After an internal error the scheduler may no longer list every group.
            while not stream.mailbox.closed:
                stream.mailbox.close(error)
        self._core.bell.ring()
