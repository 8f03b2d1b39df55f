"""Export OpenTelemetry spans of requests (queue, prefill, decode) if an exporter is configured.

``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``..._TRACES_ENDPOINT``) selects OTLP over HTTP.
``APPLICATIONINSIGHTS_CONNECTION_STRING`` selects Application Insights. The dependency group ``tracing`` has the
packages; they are imported only if an exporter is configured. Spans are created from the timelines at the end of a
request, never on the engine's thread.
"""

import importlib.util
import logging
import os
import time
from collections.abc import Mapping
from typing import Any, Protocol

from generation import __version__
from generation.config import SettingsError, how_to_install
from generation.observe.timeline import Timeline

log = logging.getLogger(__name__)

_OTLP = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_APPLICATION_INSIGHTS = "APPLICATIONINSIGHTS_CONNECTION_STRING"

_provider: Any = None


def chosen(traces: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the exporter that the settings select: ``otlp``, ``applicationinsights`` or None.

    Args:
        traces: the setting ``TRACES``. With ``auto``, select OTLP if an endpoint is set, or else Application Insights
            if there is a connection string and the exporter is installed, because every app in Azure has the string.
        environment: environment variables.

    Raises:
        SettingsError: the selected exporter has no address.
    """
    if traces == "off" or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if traces == "applicationinsights":
        if not environment.get(_APPLICATION_INSIGHTS):
            raise SettingsError(f"TRACES='applicationinsights' needs {_APPLICATION_INSIGHTS}")
        return traces
    if any(environment.get(name) for name in _OTLP):
        return "otlp"
    if (
        traces == "auto"
        and environment.get(_APPLICATION_INSIGHTS)
        and _installed("azure.monitor.opentelemetry.exporter")
    ):
        return "applicationinsights"
    if traces == "otlp":
        raise SettingsError(f"TRACES='otlp' needs {_OTLP[1]}")
    return None


def configure(traces: str, environment: Mapping[str, str] = os.environ) -> None:
    """Set up the exporter that the settings select, if any.

    With ``auto``, log a warning instead if the exporter cannot be set up.

    Raises:
        SettingsError: an exporter selected by name lacks its packages, or its address is missing or wrong.
    """
    kind = chosen(traces, environment)
    if kind is None:
        return
    try:
        _set_up(kind, environment)
    except SettingsError as error:
        if traces != "auto":
            raise
        log.warning("no traces are sent: %s", error)
    else:
        log.info("traces go to %s", kind)


def _set_up(kind: str, environment: Mapping[str, str]) -> None:
    try:
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = _exporter(kind, environment)
    except ImportError as error:
        raise SettingsError(
            f"traces go to {kind}, and {error.name} is not installed: {how_to_install('tracing')}"
        ) from error
    except ValueError as error:
        raise SettingsError(f"traces go to {kind}, whose exporter says: {error}") from error
    use(BatchSpanProcessor(exporter))


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False


def _exporter(kind: str, environment: Mapping[str, str]) -> Any:
    if kind == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter

    return AzureMonitorTraceExporter(connection_string=environment[_APPLICATION_INSIGHTS])


def use(processor: Any) -> None:
    """Send spans to `processor`, a span processor of the SDK."""
    global _provider  # noqa: PLW0603 - one provider a process, as OpenTelemetry has it
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    name = os.environ.get("OTEL_SERVICE_NAME") or os.environ.get("WEBSITE_SITE_NAME") or "distilgpt2-functions"
    _provider = TracerProvider(resource=Resource.create({"service.name": name, "service.version": __version__}))
    _provider.add_span_processor(processor)


def shutdown() -> None:
    """Send the remaining spans, and shut the exporter down."""
    global _provider  # noqa: PLW0603
    if _provider is not None:
        _provider.shutdown()
        _provider = None


class Request(Protocol):
    """The data of a request that its spans show; `RequestRecord` has it.

    Attributes:
        began: start of the request, in seconds of `time.monotonic`.
        seconds: duration of the request.
        trace_id: trace of the caller, in hexadecimal, or None.
        parent_id: span of the caller, in hexadecimal, or None.
        sampled: whether the caller samples the trace.
        timelines: one for each request to the engine.
    """

    id: str
    method: str
    route: str
    template: str | None
    status: int
    error_code: str | None
    trace_id: str | None
    parent_id: str | None
    sampled: bool
    began: float
    seconds: float
    timelines: list[Timeline]


def export(record: Request) -> str | None:
    """Create the spans of a request that has ended; return the trace id, or None if no exporter is configured."""
    if _provider is None:
        return None
    from opentelemetry.trace import (
        NonRecordingSpan,
        SpanContext,
        SpanKind,
        Status,
        StatusCode,
        TraceFlags,
        set_span_in_context,
    )

    parent = None
    if record.trace_id and record.parent_id:
        flags = TraceFlags(int(record.sampled))
        remote = SpanContext(int(record.trace_id, 16), int(record.parent_id, 16), is_remote=True, trace_flags=flags)
        parent = set_span_in_context(NonRecordingSpan(remote))
    offset = time.time() - time.monotonic()

    def stamp(moment: float) -> int:
        return int((moment + offset) * 1e9)

    # https://opentelemetry.io/docs/specs/semconv/http/http-spans/: the route is the path template, and names the span.
    route = record.route if record.template is None else "/api/" + record.template.replace("{*", "{")
    tracer = _provider.get_tracer("generation", __version__)
    attributes: dict[str, Any] = {
        "http.request.method": record.method,
        "http.route": route,
        "http.response.status_code": record.status,
        "request.id": record.id,
    }
    root = tracer.start_span(
        f"{record.method} {route}",
        parent,
        kind=SpanKind.SERVER,
        attributes=attributes,
        start_time=stamp(record.began),
    )
    if record.error_code is not None:
        root.set_attribute("error.type", record.error_code)
    if record.status >= 500:  # noqa: PLR2004 - a client's own fault is no error of the server's span
        root.set_status(Status(StatusCode.ERROR))
    inside = set_span_in_context(root)
    for one in record.timelines:
        for name, start, end in one.stages():
            if start is not None and (end or one.ended) is not None:
                span = tracer.start_span(name, inside, attributes=_attributes(name, one), start_time=stamp(start))
                span.end(stamp(end or one.ended or start))
    root.end(stamp(record.began + record.seconds))
    return f"{root.get_span_context().trace_id:032x}"


def _attributes(name: str, one: Timeline) -> dict[str, Any]:
    if name == "prefill":
        return {"prompt_tokens": one.prompt_tokens, "cached_tokens": one.cached_tokens}
    if name == "decode":
        return {"generated_tokens": one.generated_tokens, "finish_reasons": tuple(one.finish_reasons)}
    return {}
