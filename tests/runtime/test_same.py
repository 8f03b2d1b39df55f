"""One set of requests, two hosts, the same answers."""

import httpx
import pytest

from benchmarks.server import Served
from tests.runtime.launch import KEY, Runtime
from tests.support.cases import CASES, REFUSED, Case, stable


def _ask(running: Served | Runtime, case: Case) -> httpx.Response:
    headers = {"x-functions-key": KEY} if case.keyed else {}
    return httpx.request(case.verb, running.url + case.path, content=case.content, headers=headers, timeout=60)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_answers_are_those_of_the_embedded_host(case: Case, embedded: Served, runtime: Runtime) -> None:
    ours, theirs = _ask(embedded, case), _ask(runtime, case)

    assert (theirs.status_code, stable(theirs.text)) == (ours.status_code, stable(ours.text))
    assert ours.status_code == case.status
    assert ours.headers["content-type"].startswith(case.content_type)
    assert theirs.headers["content-type"] == ours.headers["content-type"]
    assert theirs.headers["x-request-id"]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_both_hosts_refuse_what_no_function_serves(case: Case, embedded: Served, runtime: Runtime) -> None:
    assert _ask(embedded, case).status_code == _ask(runtime, case).status_code == case.status


def test_every_function_is_covered_by_a_case(runtime: Runtime) -> None:
    _ask(runtime, Case("refused", "/nothing"))
    log = "\n".join(runtime.log())
    triggers = runtime.report["functions"].items()
    missing = [name for name, trigger in triggers if trigger["type"] == "httpTrigger" and f"name: {name}," not in log]
    assert not missing, f"add a Case for {missing}"


def test_no_invocation_has_failed(runtime: Runtime) -> None:
    """An error that reaches the runtime is a bare 500 there; ours are answers like any other."""
    assert httpx.get(f"{runtime.report['url']}/admin/harness/report").json()["failures"] == []
