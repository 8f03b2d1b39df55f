"""The lines of the output, written and read again."""

import json

import pytest

from generation.cli.batch.answer import Answer, read_written
from generation.cli.batch.lines import parse
from generation.errors import InvalidRequestError
from tests.support.batch import request

LINE = parse(4, request("a"))
BAD = parse(4, b"bad")


def test_a_response_is_in_the_form_of_the_batch_api() -> None:
    body = b'{"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}}'
    answer = Answer.response(200, "r1", body)
    assert json.loads(answer.render(LINE)) == {
        "id": f"batch_req_{LINE.fingerprint}",
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "r1", "body": json.loads(body)},
        "error": None,
    }
    assert answer.usage["completion_tokens"] == 3
    assert answer.code is None


def test_an_error_has_the_number_of_its_line() -> None:
    answer = Answer.failure(InvalidRequestError("no", param="url"))
    found = json.loads(answer.render(BAD))
    assert found["response"] is None
    assert found["custom_id"] is None
    assert found["error"] == {
        "message": "no", "type": "invalid_request_error", "param": "url", "code": "invalid_value", "line": 4
    }  # fmt: skip
    assert answer.code == "invalid_value"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{\n"a": 1\n}', {"a": 1}),
        (b"<html>\n", "<html>\n"),
        (b"", ""),
        ('{"a":"x\u2028y\u0085z"}'.encode(), {"a": "x\u2028y\u0085z"}),
        (b'{"usage": 7}', {"usage": 7}),
        (b'{"usage": {"prompt_tokens": "many"}}', {"usage": {"prompt_tokens": "many"}}),
    ],
)
def test_any_body_becomes_one_line_of_json(body: bytes, expected: object) -> None:
    answer = Answer.response(200, None, body)
    text = answer.render(LINE).decode()
    assert len(text.splitlines()) == 1
    assert json.loads(text)["response"]["body"] == expected
    assert answer.usage == {}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error": {"code": "invalid_value"}}', "400 invalid_value"),
        (b'{"error": {}}', "400"),
        (b'{"error": "x"}', "400"),
        (b"<html>", "400"),
    ],
)
def test_a_failure_is_counted_by_status_and_code(body: bytes, code: str) -> None:
    assert Answer.response(400, None, body).code == code


def test_a_written_line_is_recognized() -> None:
    good = read_written(Answer.response(200, None, b"{}").render(LINE))
    bad = read_written(Answer.failure(InvalidRequestError("no")).render(BAD))
    refused = read_written(Answer.response(400, None, b"{}").render(LINE))
    assert good is not None
    assert (good.key, good.fingerprint, good.custom_id, good.failed) == (LINE.key, LINE.fingerprint, "a", False)
    assert bad is not None
    assert (bad.key, bad.failed) == (BAD.key, True)
    assert refused is not None
    assert refused.failed


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"[]", b"7", b'{"id": "x", "custom_id": "a", "response": null, "error": null}', request("a"),
        b'{"id": "batch_req_1", "custom_id": 7, "response": null, "error": {}}',
        b'{"id": "batch_req_1", "custom_id": null, "response": null, "error": {"code": "x"}}',
    ],
)  # fmt: skip
def test_other_lines_are_not(text: bytes) -> None:
    assert read_written(text) is None
