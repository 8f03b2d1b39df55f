"""Keys, as the platform asks for them."""

import httpx
import pytest

from tests.runtime.conftest import Host
from tests.runtime.launch import KEY
from tests.support.cases import CASES, Case

KEYED = {case.path.split("?")[0]: case for case in CASES if case.keyed}.values()


@pytest.mark.parametrize("case", KEYED, ids=lambda case: case.path)
def test_a_route_that_costs_is_refused_without_the_key(case: Case, host: Host) -> None:
    for headers in ({}, {"x-functions-key": "wrong"}, {"x-functions-key": ""}):
        refused = httpx.request(case.verb, host.url + case.path, content=case.content, headers=headers)
        assert (refused.status_code, refused.content) == (401, b"")


def test_the_key_may_come_in_the_query(host: Host) -> None:
    answer = httpx.get(f"{host.url}/generate/Once", params={"code": KEY, "max_new_tokens": 1})
    assert answer.status_code == 200


def test_the_header_goes_before_the_query(host: Host) -> None:
    answer = httpx.get(f"{host.url}/v1/models", params={"code": KEY}, headers={"x-functions-key": "wrong"})
    assert answer.status_code == 401


@pytest.mark.parametrize("path", [case.path for case in CASES if not case.keyed])
def test_health_needs_no_key(path: str, host: Host) -> None:
    assert httpx.get(host.url + path).status_code == 200
