"""Spans of requests, caught in memory; and which exporter the settings choose."""

import importlib
import logging
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from generation.config import SettingsError
from generation.observe import tracing
from generation.observe.record import RequestRecord
from generation.observe.timeline import Timeline

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OTLP = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
INSIGHTS = {
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=00000000-0000-0000-0000-000000000001;"
    "IngestionEndpoint=https://127.0.0.1/"
}


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.use(SimpleSpanProcessor(exporter))
    yield exporter
    tracing.shutdown()


def _finish(record: RequestRecord, status: int = 200, error_code: str | None = None) -> None:
    record.answered(status, error_code)


def _context(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def _parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def test_a_request_is_a_span_with_its_phases_inside(spans: InMemorySpanExporter) -> None:
    record = RequestRecord("generate", "POST", {"x-request-id": "mine"})
    start = record.began
    record.timelines.append(Timeline(start, 4, start + 1, start + 3, start + 6, 2, 7, ["stop"]))
    _finish(record)
    *phases, root = spans.get_finished_spans()
    assert (root.name, root.kind, root.parent) == ("POST generate", SpanKind.SERVER, None)
    assert dict(root.attributes or {})["request.id"] == "mine"
    assert [(one.name, round(((one.end_time or 0) - (one.start_time or 0)) / 1e9)) for one in phases] == [
        ("queue", 1),
        ("prefill", 2),
        ("decode", 3),
    ]
    assert {_parent(one) for one in phases} == {_context(root).span_id}
    assert dict(phases[2].attributes or {}) == {"generated_tokens": 7, "finish_reasons": ("stop",)}


def test_a_span_shows_the_path_template(spans: InMemorySpanExporter) -> None:
    _finish(RequestRecord("generate_path", "GET", {}, "generate/{*prompt}"))
    (root,) = spans.get_finished_spans()
    assert root.name == "GET /api/generate/{prompt}"
    assert dict(root.attributes or {})["http.route"] == "/api/generate/{prompt}"


def test_it_is_a_part_of_the_callers_trace(spans: InMemorySpanExporter) -> None:
    _finish(RequestRecord("generate", "POST", {"traceparent": f"00-{TRACE}-{SPAN}-01"}))
    (root,) = spans.get_finished_spans()
    assert f"{_context(root).trace_id:032x}" == TRACE
    assert _parent(root) == int(SPAN, 16)


def test_what_the_caller_does_not_sample_is_not_exported(spans: InMemorySpanExporter) -> None:
    _finish(RequestRecord("generate", "POST", {"traceparent": f"00-{TRACE}-{SPAN}-00"}))
    assert not spans.get_finished_spans()


def test_the_log_knows_the_trace(spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    _finish(RequestRecord("generate", "POST", {}))
    (root,) = spans.get_finished_spans()
    assert f'"trace_id": "{_context(root).trace_id:032x}"' in caplog.text


def test_a_phase_that_did_not_end_ends_with_the_request(spans: InMemorySpanExporter) -> None:
    record = RequestRecord("generate", "POST", {})
    record.timelines.append(Timeline(record.began, 4, record.began + 1, None, record.began + 3))
    _finish(record, 503, "timeout")
    *phases, root = spans.get_finished_spans()
    assert [one.name for one in phases] == ["queue", "prefill"]
    assert root.status.status_code is StatusCode.ERROR
    assert dict(root.attributes or {})["error.type"] == "timeout"


@pytest.mark.parametrize(
    ("traces", "environment", "expected"),
    [
        ("auto", {}, None),
        ("auto", OTLP, "otlp"),
        ("auto", INSIGHTS, "applicationinsights"),
        ("auto", OTLP | INSIGHTS, "otlp"),
        ("applicationinsights", OTLP | INSIGHTS, "applicationinsights"),
        ("otlp", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1/v1/traces"}, "otlp"),
        ("off", OTLP | INSIGHTS, None),
        ("auto", OTLP | {"OTEL_SDK_DISABLED": "true"}, None),
    ],
)
def test_the_exporter_that_is_chosen(traces: str, environment: dict[str, str], expected: str | None) -> None:
    assert tracing.chosen(traces, environment) == expected


@pytest.mark.parametrize(
    ("traces", "missing"),
    [("otlp", "OTEL_EXPORTER_OTLP_ENDPOINT"), ("applicationinsights", "APPLICATIONINSIGHTS_CONNECTION_STRING")],
)
def test_an_exporter_without_an_address_stops_start_up(traces: str, missing: str) -> None:
    with pytest.raises(SettingsError, match=f"TRACES='{traces}' needs {missing}"):
        tracing.configure(traces, {})


@pytest.mark.parametrize(("environment", "name"), [(OTLP, "OTLPSpanExporter"), (INSIGHTS, "AzureMonitorTraceExporter")])
def test_the_exporter_is_made(environment: dict[str, str], name: str) -> None:
    exporter = tracing._exporter(tracing.chosen("auto", environment) or "", environment)
    assert type(exporter).__name__ == name
    exporter.shutdown()


def test_a_connection_string_that_is_none_stops_start_up() -> None:
    with pytest.raises(SettingsError, match="whose exporter says"):
        tracing.configure("applicationinsights", {"APPLICATIONINSIGHTS_CONNECTION_STRING": "nonsense"})


def test_missing_packages_stop_start_up_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(importlib.import_module("sys").modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(SettingsError, match="pip install --group tracing"):
        tracing.configure("otlp", OTLP)


def _refuse(*_: object) -> None:
    raise ImportError("no", name="opentelemetry.exporter")


def test_what_is_not_installed_is_skipped_with_a_warning_unless_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "_exporter", _refuse)
    tracing.configure("auto", OTLP)
    assert "no traces are sent: traces go to otlp, and opentelemetry.exporter is not installed" in caplog.text
    with pytest.raises(SettingsError, match="is not installed"):
        tracing.configure("otlp", OTLP)
