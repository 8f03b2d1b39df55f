"""The metrics: what a scrape says, and that table and dashboard name what there is."""

import json
import re
import subprocess
import sys

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from generation.api import metrics
from generation.config import ROOT, Settings
from generation.service import Service

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
DASHBOARD = ROOT / "docs" / "grafana" / "dashboard.json"


def _samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(text)
    return {(one.name, tuple(one.labels.values())): one.value for family in families for one in family.samples}


def _names(text: str) -> set[str]:
    return {name for name, _ in _samples(text)}


def _at_rest(client: httpx.Client) -> dict[tuple[str, tuple[str, ...]], float]:
    """Scrape until nothing runs: the last words of an answer are on their way before its sequence is retired."""
    for _ in range(200):
        response = client.get("/metrics")
        assert response.headers["content-type"] == metrics.MEDIA_TYPE
        found = _samples(response.text)
        if not found["generation_running_sequences", ()] and not found["generation_cache_reserved_tokens", ()]:
            return found
    pytest.fail("the engine never came to rest")


def test_a_scrape_counts_what_was_asked(client: httpx.Client) -> None:
    key = ("generation_requests_total", ("POST", "generate", "200"))
    before = _samples(client.get("/metrics").text)
    body = {"prompt": "Once", "max_new_tokens": 7, "ignore_eos": True, "num_return_sequences": 2}
    client.post("/generate", json=body).raise_for_status()
    client.post("/generate", json=body | {"stream": True}).raise_for_status()
    client.post("/generate", json={"temperature": -1})
    after = _at_rest(client)

    def grown(name: str, *labels: str) -> float:
        return after[f"generation_{name}", labels] - before.get((f"generation_{name}", labels), 0.0)

    assert after[key] - before.get(key, 0.0) == 2
    assert grown("requests_total", "POST", "generate", "400") == 1
    assert grown("generated_tokens_total") == 28
    assert grown("finished_sequences_total", "length") == 4
    assert grown("time_to_first_token_seconds_count") == 2
    assert grown("time_between_tokens_seconds_count") == 24
    assert grown("request_duration_seconds_count", "generate") == 3
    assert after["generation_state", ("ready",)] == 1
    assert after["generation_running_sequences", ()] == 0
    assert after["generation_resident_memory_bytes", ()] > 1 << 24
    assert after["generation_cache_limit_tokens", ()] > after["generation_cache_reserved_tokens", ()] == 0


def test_buckets_add_up(client: httpx.Client) -> None:
    client.post("/generate", json={"prompt": "Once", "max_new_tokens": 3}).raise_for_status()
    families = text_string_to_metric_families(client.get("/metrics").text)
    histograms = [family for family in families if family.type == "histogram" and family.samples]
    assert len(histograms) >= 8
    for family in histograms:
        series: dict[str, list[float]] = {}
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                series.setdefault(sample.labels.get("route", ""), []).append(sample.value)
        for counts in series.values():
            assert counts == sorted(counts)
        totals = {one.labels.get("route", ""): one.value for one in family.samples if one.name.endswith("_count")}
        assert totals == {route: counts[-1] for route, counts in series.items()}


def test_it_answers_while_the_model_loads() -> None:
    samples = _samples(metrics.text(Service(Settings())).decode())
    assert samples["generation_state", ("loading",)] == 1
    assert samples["generation_generated_tokens_total", ()] == 0


def test_the_table_is_that_of_the_code() -> None:
    assert metrics.table() in PAGE


def test_the_page_names_no_other_metric(client: httpx.Client) -> None:
    assert set(re.findall(r"\bgeneration_\w+", PAGE)) <= _names(client.get("/metrics").text) | set(
        re.findall(r"`(generation_\w+)`", metrics.table())
    )


def test_the_dashboard_asks_for_nothing_that_is_not_there() -> None:
    expressions = [
        target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]
    ]
    asked = {name for one in expressions for name in re.findall(r"\bgeneration_\w+", one)}
    plain = set(re.findall(r"\| `(generation_\w+)` \| (?:counter|gauge)", metrics.table()))
    histograms = set(re.findall(r"\| `(generation_\w+)` \| histogram", metrics.table()))
    assert asked <= plain | {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    unseen = (plain | histograms) - shown
    names = ("info", "load_seconds", "uptime_seconds", "tokens_per_sequence")
    assert unseen == {f"generation_{name}" for name in names}, "known once or rarely looked at"


@pytest.mark.parametrize("module", ["prometheus_client", "opentelemetry.sdk", "azure.monitor"])
def test_serving_does_not_import_what_only_a_scrape_or_a_trace_needs(module: str) -> None:
    code = f"import sys, function_app; function_app.service.wait(); print({module!r} in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "False"


def test_where_the_system_does_not_say_there_is_no_memory(tmp_path: object) -> None:
    from pathlib import Path

    assert metrics.resident_bytes(Path(str(tmp_path)) / "statm") is None
    assert (metrics.resident_bytes() or 0) > 1 << 20


def test_what_has_not_happened_yet_is_zero() -> None:
    lines = metrics.text(Service(Settings())).decode().splitlines()
    for series in (
        'rejected_requests_total{code="overloaded"}',
        'finished_sequences_total{reason="timeout"}',
        'requests_total{method="POST",route="completions",status="200"}',
        'request_duration_seconds_count{route="completions"}',
        "engine_restarts_total",
        "event_loop_delay_seconds_count",
    ):
        assert any(line.startswith(f"generation_{series} ") for line in lines), series


def test_the_page_has_a_query_for_every_metric_and_for_no_other() -> None:
    queries = PAGE.partition("### Queries")[2].partition("\n###")[0]
    asked = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bgeneration_\w+", queries)}
    assert asked == set(re.findall(r"\| `(generation_\w+)` \|", metrics.table()))
