"""What a handler makes of a result, and of every error."""

import json
import logging
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from generation.api.exchange import Exchange
from generation.api.handler import answer
from generation.errors import OverloadedError
from tests.support.http import make_request


async def _answer(error: Exception | None = None) -> Response:
    async def operation(_: Exchange) -> Response:
        if error is not None:
            raise error
        return JSONResponse({})

    response: Response = await answer("test", make_request(), operation)
    return response


async def test_an_error_of_ours_becomes_its_body_status_and_headers() -> None:
    response = await _answer(OverloadedError("busy", retry_after_s=2.1))
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")
    assert json.loads(bytes(response.body))["error"]["code"] == "overloaded"


async def test_every_answer_says_that_its_type_is_not_to_be_guessed() -> None:
    for error in (None, OverloadedError("busy"), ValueError()):
        assert (await _answer(error)).headers["x-content-type-options"] == "nosniff"


async def test_an_unexpected_error_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    response = await _answer(ValueError("inner workings"))
    assert response.status_code == 500
    assert b"inner workings" not in bytes(response.body)
    assert response.headers["x-request-id"] in json.loads(bytes(response.body))["error"]["message"]
    assert "inner workings" in caplog.text


async def test_an_operation_without_a_response_is_an_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async def operation(_: Exchange) -> Any:
        return "text"

    response = await answer("test", make_request(), operation)
    assert response.status_code == 500
    assert "test returned str instead of a response" in caplog.text


async def test_each_request_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await _answer()
    assert len(caplog.records) == 1
    assert '"method": "POST", "route": "test", "status": 200' in caplog.text
