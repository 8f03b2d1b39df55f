"""Build ASGI requests by hand, and a client that receives the messages of a response."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.requests import Request

Message = MutableMapping[str, Any]


def make_request(*messages: Message, headers: dict[str, str] | None = None) -> Request:
    """Return a request whose client sends `messages`, and then stays silent."""
    waiting = list(messages)

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": raw}
    return Request(scope, receive)


def body_message(content: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": content, "more_body": more}


class Client:
    """Receives the messages of a response; can disconnect after a number of events."""

    def __init__(self, leave_after: int | None = None) -> None:
        self.text = ""
        self.leave_after = leave_after
        self.left = asyncio.Event()
        self.got = asyncio.Event()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.text += message.get("body", b"").decode()
        self.got.set()
        if self.leave_after is not None and self.text.count("\n\n") >= self.leave_after:
            self.left.set()
