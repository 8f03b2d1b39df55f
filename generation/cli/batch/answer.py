"""The result of an input line, and its line of output in the format of OpenAI's batch API."""

import json
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from generation.cli.batch.lines import Line, key
from generation.cli.deployment import error_code
from generation.errors import ApiError

OK = 200
ID = "batch_req_"
# Characters that some programs take for line breaks, and that JSON need not escape.
LINE_ENDS = {char.encode(): f"\\u{ord(char):04x}".encode() for char in "\u0085\u2028\u2029"}


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a line: a response with `status` and `body`, or the `error` that prevented a response.

    Attributes:
        status: HTTP status of the response.
        request_id: id of the request in the server's log.
        body: body of the response.
        error: why there is no response, or None.
        usage: counts of tokens from the response.
        code: code under which a failure is counted; None for a success.
    """

    status: int = 0
    request_id: str | None = None
    body: bytes = b"null"
    error: ApiError | None = None
    usage: dict[str, int] = field(default_factory=dict)
    code: str | None = None

    @classmethod
    def response(cls, status: int, request_id: str | None, body: bytes) -> "Answer":
        """Create the result from an HTTP response. A body that is not JSON becomes a JSON string."""
        parsed: Any = None
        try:
            parsed = from_json(body)
            clean = json.dumps(parsed).encode() if b"\n" in body else body
        except ValueError:
            clean = json.dumps(body.decode(errors="replace")).encode()
        for char, escaped in LINE_ENDS.items():
            clean = clean.replace(char, escaped)
        usage = parsed.get("usage") if isinstance(parsed, dict) and status == OK else None
        counts = {name: count for name, count in usage.items() if type(count) is int} if isinstance(usage, dict) else {}
        code = None if status == OK else f"{status} {error_code(body) or ''}".strip()
        return cls(status, request_id, clean, None, counts, code)

    @classmethod
    def failure(cls, error: ApiError) -> "Answer":
        """Create the result of a line without a response."""
        return cls(error=error, code=error.code)

    def render(self, line: Line) -> bytes:
        """Return the line of output, with its line break."""
        response = b"null"
        error = "null"
        if self.error is None:
            head = f'{{"status_code":{self.status},"request_id":{json.dumps(self.request_id)},"body":'
            response = head.encode() + self.body + b"}"
        else:
            error = json.dumps(self.error.body()["error"] | {"line": line.number}, separators=(",", ":"))
        head = f'{{"id":"{ID}{line.fingerprint}","custom_id":{json.dumps(line.custom_id)},"response":'
        return head.encode() + response + f',"error":{error}}}\n'.encode()


@dataclass(frozen=True, slots=True)
class Written:
    """A line of output from an earlier run."""

    key: bytes
    fingerprint: str
    custom_id: str | None
    failed: bool


def read_written(text: bytes) -> Written | None:
    """Parse a line of output; return None if this command has not written it."""
    try:
        found = from_json(text)
        custom_id, error, response = found["custom_id"], found["error"], found["response"]
        if not found["id"].startswith(ID) or not isinstance(custom_id, str | None):
            return None
        number = error["line"] if custom_id is None else 0
        failed = error is not None or response["status_code"] != OK
        return Written(key(custom_id, number), found["id"].removeprefix(ID), custom_id, failed)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
