"""Split long computations on the event loop into slices, so that other requests are served between them."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# Far below what a reader of a stream notices.
SLICE_S = 0.005
PIECE_BYTES = 1 << 16
# Values to encode at once: simple ones, and objects of simple ones. Either takes about a millisecond.
MANY, FEW = 2048, 64


class Slices:
    """Measures the time of the current slice."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    async def turn(self) -> None:
        """Yield to the event loop if this slice has used its time; call it in every long loop."""
        if time.perf_counter() - self._began > SLICE_S:
            await asyncio.sleep(0)
            self._began = time.perf_counter()


_turns: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = WeakKeyDictionary()


async def one_at_a_time() -> None:
    """Return to one caller in each turn of the event loop: for work of milliseconds that cannot be sliced."""
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        await asyncio.sleep(0)


class PiecesResponse(Response):
    """A JSON response that sends its body in pieces, with a content length."""

    media_type = "application/json"

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(headers={"content-length": str(sum(map(len, pieces)))})
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send the response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def json_response(content: dict[str, Any] | list[Any]) -> Response:
    """Return an object or a list as a JSON response with the bytes of `JSONResponse`, built in slices."""
    pieces, part, size = list[bytes](), list[str](), 0
    slices = Slices()
    for text in _parts(content):
        part.append(text)
        size += len(text)
        if size >= PIECE_BYTES:
            pieces.append("".join(part).encode())
            part, size = [], 0
        await slices.turn()
    last = "".join(part).encode()
    return PiecesResponse([*pieces, last]) if pieces else Response(last, media_type="application/json")


def _parts(value: Any) -> Iterator[str]:
    """Yield the JSON text of a value in parts that each take little time."""
    if isinstance(value, dict) and not _is_flat(value):
        before = "{"
        for key, one in value.items():
            yield f"{before}{_dumps(key)}:"
            yield from _parts(one)
            before = ","
        yield "}"
    elif isinstance(value, list) and value:
        before = "["
        first = next((one for one in value if one is not None), None)
        together = 1 if not _is_flat(first) else FEW if isinstance(first, dict) else MANY
        for start in range(0, len(value), together):
            yield before
            if together == 1:
                yield from _parts(value[start])
            else:
                yield _dumps(value[start : start + together])[1:-1]
            before = ","
        yield "]"
    else:
        yield _dumps(value)


def _is_flat(value: Any) -> bool:
    """Return whether a value is simple or contains only a few simple ones."""
    if isinstance(value, dict):
        return len(value) <= FEW and not any(isinstance(one, dict | list) for one in value.values())
    return not isinstance(value, list)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
