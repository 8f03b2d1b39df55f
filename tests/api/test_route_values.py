"""Values of the route, as the Functions host hands them over."""

import pytest
from starlette.requests import Request

from generation.api.route_values import route_value


@pytest.mark.parametrize(("given", "value"), [("a%2Fb", "a/b"), ("%2f", "/"), ("a%20b", "a%20b"), ("a+b", "a+b")])
def test_only_an_escaped_slash_is_still_to_be_decoded(given: str, value: str) -> None:
    assert route_value(Request({"type": "http", "path_params": {"prompt": given}}), "prompt") == value


def test_what_a_path_does_not_reach_is_empty() -> None:
    assert route_value(Request({"type": "http", "path_params": {}}), "prompt") == ""
