"""Write inputs and read outputs of batches; a backend that echoes lines."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from generation.cli.batch.answer import Answer
from generation.cli.batch.lines import Line


def request(custom_id: str, url: str = "/v1/completions", **body: Any) -> bytes:
    """Return a line of an input, without the line break."""
    body = {"prompt": "Once", "max_tokens": 2, "temperature": 0} | body
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body}).encode()


def write(path: Path, lines: Iterable[bytes]) -> Path:
    with path.open("wb") as file:
        file.writelines(line + b"\n" for line in lines)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of an output; each must be complete."""
    text = path.read_bytes()
    assert text.endswith(b"\n") or not text
    return [json.loads(line) for line in text.splitlines()]


def ids(path: Path) -> list[str]:
    return [line["custom_id"] for line in read(path)]


class Echo:
    """A backend that answers every line with its own body: at once, or when `gate` opens for the id of the line."""

    note = ""

    def __init__(self, limit: int = 4) -> None:
        self.limit = limit
        self.gates: dict[str, asyncio.Event] = {}
        self.running = self.most = 0
        self.seen: list[str | None] = []

    async def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    async def answer(self, line: Line, stop: asyncio.Event) -> Answer | None:
        self.seen.append(line.custom_id)
        self.running += 1
        self.most = max(self.most, self.running)
        gate = self.gates.get(line.custom_id or "")
        for _ in range(5):  # others begin meanwhile
            await asyncio.sleep(0)
        if gate is not None:
            await gate.wait()
        self.running -= 1
        return Answer.response(200, "r", json.dumps(line.body).encode())
