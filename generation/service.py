"""The service of the process: loads the model once, in the background, and reports its state."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from generation import __version__
from generation.config import Settings
from generation.errors import NotReadyError
from generation.model.artifact import DRAFTS, ArtifactConfig, ArtifactError
from generation.model.machine import cpu_limit, give_back_free_memory, memory_limit
from generation.observe import tracing
from generation.observe.telemetry import Telemetry

if TYPE_CHECKING:
    from generation.engine.engine import Engine
    from generation.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

STAGING_ROWS = 8
# Capacity for guests, requests without a running sequence: one further row per this many of MAX_RUNNING, and one in
# this many tokens of the cache.
GUEST_SHARE = 8
GUEST_TOKENS_SHARE = 16
MEBIBYTE = 1 << 20
LOADING_RETRY_S = 1.0


class State(StrEnum):
    """The state of the service."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The loaded model: its configuration, its tokenizer and the engine that runs it."""

    config: ArtifactConfig
    tokenizer: "Tokenizer"
    engine: "Engine"
    chat_template: str | None = None  # the operator's, else the model's

    @property
    def fingerprint(self) -> str:
        """The ``system_fingerprint`` of OpenAI's API: equal fingerprints mean equal responses to equal seeded requests.

        It consists of a hash over the model's files, without the draft table, and the version of this package.
        """
        files = "".join(checksum for name, checksum in sorted(self.config.files.items()) if name != DRAFTS)
        return f"fp_{hashlib.sha256(files.encode()).hexdigest()[:10]}_{__version__}"


class Service:
    """Loads the model once per process and hands it to the request handlers.

    Attributes:
        settings: the settings of the process.
        telemetry: counts and times of the engine.
        started: Unix time at which the process began to load.
        load_s: seconds that loading took; None until it has ended.
        error: why the model could not be loaded, or None.
        refused: whether `error` is the fault of the artifact or of a setting, not of the program.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.telemetry = Telemetry()
        self.started = time.time()
        self.load_s: float | None = None
        self.error: str | None = None
        self.refused = False
        self._begun = time.monotonic()
        self._loaded: Loaded | None = None
        self._draining = self._stopped = False
        self._grace_s = 0.0
        # The loading thread may finish while another thread stops the service.
        self._lock = threading.Lock()
        self._done = threading.Event()

    def start(self, then: Callable[[], object] | None = None) -> "Service":
        """Start to load the model in a thread, so that importing the app does not wait; return the service itself.

        Args:
            then: is called in that thread once the service is ready, for what can wait until then.

        Raises:
            SettingsError: an exporter of traces is selected and cannot be set up.
        """
        tracing.configure(self.settings.traces)
        threading.Thread(target=self._load, args=(then,), name="load", daemon=True).start()
        return self

    def wait(self, timeout_s: float | None = None) -> State:
        """Block until loading has succeeded or failed, or for `timeout_s` seconds; return the state."""
        self._done.wait(timeout_s)
        return self.state

    @property
    def state(self) -> State:
        """The current state."""
        if self.error is not None or (self._loaded is not None and self._loaded.engine.failure is not None):
            return State.FAILED
        if self._draining:
            return State.STOPPED if self._stopped else State.DRAINING
        return State.READY if self._loaded is not None else State.LOADING

    @property
    def reason(self) -> str | None:
        """Why the state is ``failed``; None in any other state."""
        if self.error is None and self.state is State.FAILED:
            return "the engine's thread has ended with an error; see the log"
        return self.error

    @property
    def engine(self) -> "Engine | None":
        """The engine, in any state; None until the model is loaded."""
        return self._loaded.engine if self._loaded is not None else None

    @property
    def uptime_s(self) -> float:
        """Seconds since the service was created."""
        return time.monotonic() - self._begun

    def loaded(self) -> Loaded:
        """Return the loaded model.

        Raises:
            NotReadyError: the model is loading or the service is draining (both with a time to retry after), or loading
                or the engine has failed.
        """
        state = self.state
        if state is State.FAILED:
            raise NotReadyError(f"the model cannot be served: {self.reason}")
        if self._draining:
            raise NotReadyError("this instance is shutting down; try again", retry_after_s=LOADING_RETRY_S)
        if self._loaded is None:
            raise NotReadyError("the model is loading; try again", retry_after_s=LOADING_RETRY_S)
        return self._loaded

    def model_config(self) -> ArtifactConfig | None:
        """Return the model's configuration, or None until the model is loaded."""
        return self._loaded.config if self._loaded else None

    def stop(self, grace_s: float = 0.0) -> None:
        """Refuse new requests, give running requests `grace_s` seconds to finish, then end them.

        A service that is still loading stops once loading has ended.
        """
        with self._lock:
            self._draining, self._grace_s = True, grace_s
            loaded = self._loaded
        if loaded is not None:
            loaded.engine.stop(grace_s)
            self._ended()

    def _load(self, then: Callable[[], object] | None) -> None:
        loaded = None
        try:
            loaded = load(self.settings, self.telemetry)
        except ArtifactError as error:
            self.error, self.refused = str(error), True
            log.error("the model cannot be loaded: %s", error)  # noqa: TRY400 - the message says all
        except Exception as error:
            self.error = f"unexpected {type(error).__name__} while loading; see the log"
            log.exception("the model cannot be loaded")
        self.load_s = self.uptime_s
        with self._lock:
            self._loaded = loaded
            stop = loaded is not None and self._draining
        self._done.set()
        if stop and loaded is not None:
            loaded.engine.stop(self._grace_s)
            self._ended()
        elif then is not None:
            then()

    def _ended(self) -> None:
        self._stopped = True
        tracing.shutdown()


def load(settings: Settings, telemetry: Telemetry | None = None) -> Loaded:
    """Load the model and start its engine.

    Raises:
        ArtifactError: the artifact is missing, damaged or made of files of different models, or `CACHE_MB` is too low.
    """
    # Imported here, in the loading thread: they take a large part of the cold start.
    from generation.engine.engine import Engine
    from generation.engine.prefix import PrefixCache
    from generation.engine.scheduler import Limits
    from generation.engine.speculation import Speculation
    from generation.model.cache import bytes_around, bytes_per_token
    from generation.model.draft_table import open_drafts
    from generation.model.opening import open_artifact

    opened = open_artifact(settings.model_dir, settings.threads or cpu_limit())
    config = opened.config
    per_token = bytes_per_token(config.layers, config.heads, config.head_size, config.cache)
    per_staged = bytes_per_token(config.layers, config.heads, config.head_size, "float32")
    budget = settings.cache_mb * MEBIBYTE or memory_limit() // 4
    prefix_bytes = min(settings.prefix_cache_mb * MEBIBYTE, budget // 2)
    rows = settings.max_running
    guests = max(1, rows // GUEST_SHARE)
    around = bytes_around(config.layers, config.heads, batch=rows + guests, staging=STAGING_ROWS)
    tokens = (budget - prefix_bytes - around) // per_token
    limits = Limits(
        rows=rows,
        staging=STAGING_ROWS,
        tokens=tokens,
        guests=guests,
        guest_tokens=tokens // GUEST_TOKENS_SHARE,
        staged_cost=per_staged // per_token,
        chunk=settings.prefill_chunk,
        waiting=settings.max_waiting,
        waiting_tokens=settings.max_waiting_tokens,
    )
    if tokens < 2:  # noqa: PLR2004 - a prompt token and a new one
        raise ArtifactError(
            f"CACHE_MB={budget // MEBIBYTE} leaves no room for {rows} rows of this model's cache: raise it, or lower "
            "MAX_RUNNING"
        )
    model = opened.model(batch=rows + guests, staging=STAGING_ROWS, chunk=settings.prefill_chunk)
    # With a float32 cache, the last bits of a token's logits depend on how many tokens a step computes.
    drafts = settings.speculate > 0 and config.cache == "int8"
    engine = Engine(
        model,
        opened.tokenizer,
        limits,
        PrefixCache(prefix_bytes) if prefix_bytes else None,
        Speculation(settings.speculate, rows, open_drafts(settings.model_dir, config)) if drafts else None,
        telemetry=telemetry,
    )
    engine.start()
    give_back_free_memory()  # about 10 MiB that only loading needed
    return Loaded(config, opened.tokenizer, engine, settings.chat_template or config.chat_template)
