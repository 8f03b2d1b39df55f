"""The load tests for a deployment, run against the local host: k6's script in node, and Locust's in this process.

Neither k6 nor Locust is part of the development environment. The stand-ins offer what the scripts import, and send real
requests.
"""

import json
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.server import Served
from generation.config import ROOT

FOLDER = ROOT / "benchmarks" / "deployment"
K6 = {
    "package.json": json.dumps(
        {
            "name": "k6",
            "type": "module",
            "exports": {".": "./k6.js", "./http": "./http.js", "./metrics": "./metrics.js"},
        }
    ),
    "k6.js": """
        export const check = (answer, checks) => Object.values(checks).every((one) => one(answer));
        export const fail = (text) => { throw new Error(text); };
    """,
    "http.js": """
        import { execFileSync } from "node:child_process";
        const at = (value, path) => path.split(".").reduce((inner, name) => inner[name], value);
        const send = (url, ...options) => {
          const flags = ["-sS", "--noproxy", "*", "-w", "\\n%{http_code}"];
          const said = execFileSync("curl", [...flags, ...options, url]).toString();
          const end = said.lastIndexOf("\\n");
          const body = said.slice(0, end);
          const json = (path) => (path ? at(JSON.parse(body), path) : JSON.parse(body));
          return { status: Number(said.slice(end + 1)), body, json };
        };
        const post = (url, body, { headers }) =>
          send(url, "-d", body, ...Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]));
        export default { get: (url) => send(url), post };
    """,
    "metrics.js": """
        export const added = {};
        export class Counter {
          constructor(name) { this.name = name; added[name] = []; }
          add(value) { added[this.name].push(value); }
        }
    """,
}
# What k6 does around the script: set-up, iterations, the summary of what was counted.
HARNESS = """
    globalThis.__ENV = process.env;
    globalThis.__VU = 1;
    globalThis.__ITER = 0;
    const script = await import("./main.mjs");
    const { added } = await import("k6/metrics");
    const data = script.setup();
    for (; __ITER < 3; __ITER++) script.default(data);
    const total = added.generated_tokens.reduce((sum, one) => sum + one, 0);
    const values = { rate: total / 2 };
    const summary = script.handleSummary({
      setup_data: data,
      metrics: {
        generated_tokens: { values },
        iterations: { values: { rate: 1.5 } },
        http_req_failed: { values: { rate: 0 } },
        http_req_duration: { values: { "p(95)": 1234 } },
      },
    });
    console.log(summary.stdout);
"""


@pytest.fixture
def k6(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    node = shutil.which("node")
    if node is None or shutil.which("curl") is None:
        pytest.skip("node or curl is not installed")
    package = tmp_path / "node_modules" / "k6"
    package.mkdir(parents=True)
    for name, text in K6.items():
        (package / name).write_text(text, encoding="utf-8")
    shutil.copy(FOLDER / "k6.js", tmp_path / "main.mjs")
    (tmp_path / "harness.mjs").write_text(HARNESS, encoding="utf-8")

    def run(url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [node, "harness.mjs"],
            cwd=tmp_path,
            env={"PATH": str(Path(node).parent) + ":/usr/bin:/bin", "BASE_URL": url, "TOKENS": "5", "CLIENTS": "4"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_k6_counts_generated_tokens_and_prints_what_the_sizing_rule_takes(
    served: Served, k6: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = k6(served.url)
    assert done.returncode == 0, done.stderr
    model, clients, tokens, requests, failed, slowest, *_ = done.stdout.splitlines()
    assert model.startswith("tinystories-demo (int8), revision ")
    assert (clients, tokens, requests) == ("clients: 4", "tokens/s: 7.5", "requests/s: 1.50")  # 3 answers of 5, in 2 s
    assert (failed, slowest) == ("failed: 0.00 %", "95 % of the calls within 1.23 s")


def test_k6_measures_no_deployment_that_does_not_serve(k6: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert k6("http://127.0.0.1:9/api").returncode != 0


class Event:
    """An event of Locust's."""

    def __init__(self) -> None:
        self.listeners: list[Callable[..., None]] = []

    def add_listener(self, listener: Callable[..., None]) -> Callable[..., None]:
        self.listeners.append(listener)
        return listener

    def fire(self) -> None:
        for one in self.listeners:
            one(environment=None)


@pytest.fixture
def locust(served: Served, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the Locust file, whose user calls the server."""

    class Client:
        def post(self, path: str, **options: Any) -> Any:
            answer = httpx.post(served.url + path, **options)
            return types.SimpleNamespace(ok=answer.is_success, json=answer.json)

    module = types.ModuleType("locust")
    vars(module).update(
        HttpUser=type("HttpUser", (), {"client": Client()}),
        task=lambda function: function,
        events=types.SimpleNamespace(test_start=Event(), test_stop=Event()),
    )
    monkeypatch.setitem(sys.modules, "locust", module)
    monkeypatch.setenv("TOKENS", "5")
    scope: dict[str, Any] = {"__name__": "locustfile"}
    exec(compile((FOLDER / "locustfile.py").read_text(encoding="utf-8"), "locustfile.py", "exec"), scope)  # noqa: S102
    return types.SimpleNamespace(user=scope["Caller"](), events=module.events, generated=scope["_generated"])


def test_locust_counts_generated_tokens_and_prints_their_rate(locust: Any, capsys: pytest.CaptureFixture[str]) -> None:
    locust.events.test_start.fire()
    for _ in range(3):
        locust.user.generate()
    assert locust.generated["tokens"] == 15
    locust.events.test_stop.fire()
    assert re.fullmatch(r"tokens/s: \d+\.\d\n", capsys.readouterr().out)


def test_azure_load_testing_runs_that_file_for_a_bounded_time() -> None:
    """The keys are those of https://learn.microsoft.com/azure/load-testing/reference-test-config-yaml."""
    plan = yaml.safe_load((FOLDER / "azure-load-test.yaml").read_text(encoding="utf-8"))
    assert set(plan) <= {
        *("version", "testId", "displayName", "description", "testType", "testPlan", "engineInstances"),
        *(
            "env",
            "secrets",
            "failureCriteria",
            "autoStop",
            "configurationFiles",
            "zipArtifacts",
            "keyVaultReferenceIdentity",
        ),
    }
    assert (plan["version"], plan["testType"]) == ("v0.1", "Locust")
    assert re.fullmatch(r"[a-z0-9_-]{2,50}", plan["testId"])
    assert len(plan["description"]) <= 100
    assert (FOLDER / plan["testPlan"]).exists()
    given = {one["name"]: one["value"] for one in plan["env"]}
    assert 0 < int(given["LOCUST_RUN_TIME"]) <= 600
    script = (FOLDER / plan["testPlan"]).read_text(encoding="utf-8")
    own = {name for name in [*given, *(one["name"] for one in plan["secrets"])] if not name.startswith("LOCUST_")}
    # An app with API_KEYS takes one of them in place of the function key.
    assert own | {"API_KEY"} == set(re.findall(r'environ\.get\("(\w+)"', script))
