"""``GET /api/metrics``: metrics in Prometheus's text format.

The first scrape imports the client library, to keep it out of the cold start.
"""

import asyncio
import os
import platform
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from generation import __version__
from generation.engine.drafter import SOURCES
from generation.engine.request import ERROR, LENGTH, STOP, TIMEOUT
from generation.errors import NotReadyError, OverloadedError, TooLargeError
from generation.observe import delay, record
from generation.observe.histogram import LONG, Histogram
from generation.observe.telemetry import CANCELLED
from generation.service import Service, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "generation_"


async def get(service: Service) -> Response:
    """Answer ``GET /api/metrics``, in any state of the service."""
    return Response(await asyncio.to_thread(text, service), media_type=MEDIA_TYPE)


def text(service: Service) -> bytes:
    """Return the metrics in Prometheus's text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_collector()(service))
    return generate_latest(registry)


@lru_cache
def _collector() -> Any:
    from prometheus_client.registry import Collector

    class ServiceCollector(Collector):
        def __init__(self, service: Service) -> None:
            self._service = service

        def collect(self) -> "Iterator[Metric]":
            return collect(self._service)

    return ServiceCollector


def collect(service: Service) -> "Iterator[Metric]":
    """Yield every metric. A test compares the table in `docs/operations.md` with them."""
    yield from _of_requests()
    yield from _of_sequences(service)
    yield from _of_steps(service)
    yield from _of_the_process(service)


def _of_requests() -> "Iterator[Metric]":
    from prometheus_client.core import HistogramMetricFamily

    from generation.api.openapi_operations import OPERATIONS  # here: its response models cost cold start

    routes = {(one.name, one.method.upper(), 200): 0 for one in OPERATIONS}
    by_status = {tuple(map(str, key)): count for key, count in sorted({**routes, **record.requests}.items())}
    yield _counts("requests", "HTTP requests answered", ("route", "method", "status"), by_status)
    durations = HistogramMetricFamily(
        f"{PREFIX}request_duration_seconds",
        "time from the headers of a request to the last byte of the response",
        labels=["route"],
    )
    unused = {one.name: Histogram(LONG) for one in OPERATIONS}
    for route, histogram in sorted({**unused, **record.durations}.items()):
        durations.add_metric([route], *_buckets(histogram))
    yield durations


def _of_sequences(service: Service) -> "Iterator[Metric]":
    seen = service.telemetry
    yield _histogram("queue_seconds", "time in the queue, from arrival to the start of prefill", seen.queue_s)
    yield _histogram("time_to_first_token_seconds", "time from arrival to the first token", seen.first_token_s)
    yield _histogram("time_between_tokens_seconds", "time between two tokens of a sequence", seen.between_tokens_s)
    yield _histogram("tokens_per_sequence", "tokens generated per finished sequence", seen.request_tokens)
    yield _count("prompt_tokens", "prompt tokens of admitted requests", seen.prompt_tokens)
    yield _count("cached_prompt_tokens", "prompt tokens reused from the prefix cache", seen.cached_tokens)
    yield _count("prefix_hits", "requests that reused a cached prefix", seen.prefix_hits)
    yield _count("generated_tokens", "tokens generated", seen.generated_tokens)
    drafted, accepted = (_with_zeros(counts, SOURCES) for counts in (seen.drafted, seen.accepted))
    yield _counts("drafted_tokens", "draft tokens proposed (speculative decoding), by source", ("source",), drafted)
    yield _counts("accepted_tokens", "draft tokens accepted, by source", ("source",), accepted)
    yield _count("cancelled_requests", "requests cancelled by a client disconnect", seen.cancelled)
    finished = _with_zeros(seen.finished, (STOP, LENGTH, TIMEOUT, CANCELLED, ERROR))
    yield _counts("finished_sequences", "sequences that ended, by finish reason", ("reason",), finished)
    rejected = _with_zeros(seen.rejections, (NotReadyError.code, OverloadedError.code, TooLargeError.code))
    yield _counts("rejected_requests", "requests that the engine refused, by error code", ("code",), rejected)


def _of_steps(service: Service) -> "Iterator[Metric]":
    seen, engine = service.telemetry, service.engine
    yield _histogram("step_seconds", "model time of a decode step", seen.step_s)
    yield _histogram("prefill_chunk_seconds", "model time of a prefill run", seen.prefill_s)
    yield _histogram("batch_size", "sequences in a decode step", seen.batch)
    yield _gauge("running_sequences", "sequences being decoded", engine.running if engine else 0)
    yield _gauge("waiting_requests", "requests in the queue", engine.waiting if engine else 0)
    yield _gauge(
        "cache_reserved_tokens",
        "tokens of the KV cache reserved for admitted requests",
        engine.reserved_tokens if engine else 0,
    )
    yield _gauge("cache_limit_tokens", "capacity of the KV cache in tokens", engine.cache_tokens if engine else 0)


def _of_the_process(service: Service) -> "Iterator[Metric]":
    from prometheus_client.core import GaugeMetricFamily

    yield _histogram("event_loop_delay_seconds", "delay of a timer of the event loop", delay.delay_s)
    yield _count("engine_restarts", "restarts of the engine after a failure", service.telemetry.restarts)
    state = GaugeMetricFamily(f"{PREFIX}state", "1 for the current state, 0 for the others", labels=["state"])
    for one in State:
        state.add_metric([one.value], float(service.state is one))
    yield state
    info = GaugeMetricFamily(
        f"{PREFIX}info",
        "always 1; labels describe the process",
        labels=["version", "revision", "model", "precision", "python"],
    )
    config = service.model_config()
    model, precision = (config.name, config.precision) if config else ("", "")
    info.add_metric([__version__, service.settings.git_sha, model, precision, platform.python_version()], 1.0)
    yield info
    if service.load_s is not None:
        yield _gauge("load_seconds", "time to load the model", service.load_s)
    yield _gauge("uptime_seconds", "time since the process started to load the model", service.uptime_s)
    resident = resident_bytes()
    if resident is not None:
        yield _gauge("resident_memory_bytes", "resident memory of the process", resident)


def resident_bytes(statm: Path = Path("/proc/self/statm")) -> int | None:
    """Return the resident memory of this process; None where the system does not report it."""
    try:
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    counts, total = list(histogram.counts), histogram.total
    below, found = 0, []
    for bound, count in zip((*histogram.bounds, float("inf")), counts, strict=True):
        below += count
        found.append(("+Inf" if bound == float("inf") else repr(bound), float(below)))
    return found, total


def _histogram(name: str, text: str, histogram: Histogram) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    buckets, total = _buckets(histogram)
    return HistogramMetricFamily(PREFIX + name, text, buckets=buckets, sum_value=total)


def _count(name: str, text: str, value: float) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(PREFIX + name, text, value=value)


def _counts(name: str, text: str, labels: tuple[str, ...], values: dict[tuple[str, ...], int]) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _with_zeros(counts: Mapping[str, int], known: Iterable[str]) -> dict[tuple[str, ...], int]:
    """Return counts by label, with zeros for known labels; without them Prometheus would miss the first increase."""
    return {(one,): count for one, count in sorted({**dict.fromkeys(known, 0), **counts}.items())}


def _gauge(name: str, text: str, value: float) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(PREFIX + name, text, value=value)


def table() -> str:
    """Return the metrics as the Markdown table of `docs/operations.md`."""
    from generation.config import Settings

    service = Service(Settings())
    service.load_s = 0.0
    lines = ["| metric | type | labels | what |", "|---|---|---|---|"]
    for metric in collect(service):
        name = metric.name + ("_total" if metric.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in getattr(metric, "_labelnames", ()))
        lines.append(f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |")
    return "\n".join(lines) + "\n"
