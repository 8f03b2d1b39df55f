"""Alerts, runbook and dashboard name the same things, and none of them counts probes and scrapes as calls.

`promtool test rules` tries the Prometheus rules; `make lint-deploy` runs it.
"""

import json
import re
from typing import Any

import pytest
import yaml

from generation.api import metrics
from generation.config import ROOT
from tests.project.snapshots import resources

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([\w-]+)` \|", RUNBOOK, re.MULTILINE)
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "docs" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs" / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
AZURE = [
    one["name"].removeprefix("my-app-")
    for one in resources("alerts-and-budget")
    if one["type"] in {"Microsoft.Insights/scheduledQueryRules", "Microsoft.Insights/metricAlerts"}
]
NO_CALLS = {"health", "ready", "metrics", "openapi", "playground"}


@pytest.fixture(scope="module")
def names() -> set[str]:
    """The names of the functions, which are the label `route` and Application Insights' `operation_Name`."""
    text = (ROOT / "function_app.py").read_text(encoding="utf-8")
    found = set(re.findall(r"^@route\([^\n]*\)\nasync def (\w+)\(", text, re.MULTILINE))
    assert found >= NO_CALLS
    return found


def test_the_runbook_has_one_entry_for_each_alert_and_no_other() -> None:
    assert sorted(ROWS) == sorted([*AZURE, *(rule["alert"] for rule in RULES)])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_leads_to_its_entry(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/runbook.md"
    (entry,) = [one for one in RUNBOOK.split("\n## ") if f"| `{rule['alert']}` |" in one]
    assert anchor == entry.splitlines()[0].lower().replace(" ", "-")
    assert rule["labels"]["severity"] in {"critical", "warning"}


def test_azures_alerts_name_the_runbook_in_their_mail() -> None:
    for one in resources("alerts-and-budget"):
        if one["name"].removeprefix("my-app-") in AZURE:
            name = one["name"].removeprefix("my-app-")
            assert one["properties"]["description"] == f"See docs/runbook.md, {name}"


def test_rules_ask_for_nothing_that_is_not_there() -> None:
    known = set(re.findall(r"\| `(generation_\w+)` \|", metrics.table()))
    asked = {name for rule in RULES for name in re.findall(r"\bgeneration_\w+", rule["expr"])}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} <= known


def test_rules_about_calls_leave_out_probes_and_scrapes(names: set[str]) -> None:
    queries = [rule["expr"] for rule in RULES if "requests_total" in rule["expr"] or "request_duration" in rule["expr"]]
    assert queries
    for query in queries:
        for selector in re.findall(r"generation_request\w*\{([^}]*)\}", query):
            if 'status="429"' not in selector:  # which no probe gets
                assert set(re.findall(r'route!~"([^"]*)"', selector)[0].split("|")) == NO_CALLS & names


def test_azures_queries_about_calls_leave_out_the_same(names: set[str]) -> None:
    queries = [
        one["properties"]["criteria"]["allOf"][0]["query"]
        for one in resources("alerts-and-budget", "Microsoft.Insights/scheduledQueryRules")
    ]
    left_out = [set(re.findall(r'"(\w+)"', query.split("!in")[1].split(")")[0])) for query in queries if "!in" in query]
    assert left_out == [NO_CALLS & names] * 2


def test_the_dashboard_shows_requests_by_route_without_probes_and_scrapes(names: set[str]) -> None:
    (variable,) = [one for one in DASHBOARD["templating"]["list"] if one["name"] == "route"]
    pattern = re.compile(variable["regex"].strip("/"))
    assert {name for name in names if pattern.match(name)} == names - NO_CALLS
    panels = [
        panel
        for panel in DASHBOARD["panels"]
        if any(re.search("request_duration|requests_total", target["expr"]) for target in panel["targets"])
    ]
    by_requests = [panel for panel in panels if "rejected" not in panel["targets"][0]["expr"]]
    assert len(by_requests) == 2
    for panel in by_requests:
        for target in panel["targets"]:
            assert '{route=~"$route"}' in target["expr"]
            assert re.search(r"sum by \([^)]*\broute\b", target["expr"])
            assert "{{route}}" in target["legendFormat"]


def test_the_app_limit_alert_follows_the_limit() -> None:
    site = next(one for one in resources("alerts-and-budget") if one["type"] == "Microsoft.Web/sites")
    limit = site["properties"]["siteConfig"]["functionAppScaleLimit"]
    (rule,) = [one for one in resources("alerts-and-budget") if one["name"] == "my-app-at-the-limit"]
    assert f"instances >= {limit}" in rule["properties"]["criteria"]["allOf"][0]["query"]
