"""A local stand-in for the Hugging Face hub, with the routes that its client uses to download a model.

The name of a model selects a fault: those of `FAULTS`; ``x/page`` returns a page instead of JSON; ``x/silent`` does
not respond; ``x/corrupt`` has other weights; ``x/cut`` and ``x/short`` send half, with and without their full
length in the header; ``x/anonymous`` has no commit. Every other model is served.
"""

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

MAIN = "1" * 40
# Status, and the header by which the hub's client recognises the reason.
FAULTS: dict[str, tuple[int, str]] = {
    "missing": (401, "RepoNotFound"),
    "gated": (403, "GatedRepo"),
    "disabled": (403, "DisabledRepo"),
    "throttled": (429, ""),
    "broken": (500, ""),
    "busy": (503, ""),
}


@dataclass(frozen=True, slots=True)
class Hub:
    """A running stand-in, and the paths of its requests."""

    url: str
    asked: list[str]


class _Handler(http.server.BaseHTTPRequestHandler):
    files: ClassVar[Mapping[str, bytes]]
    revisions: ClassVar[set[str]]
    asked: ClassVar[list[str]]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.asked.append(self.path)
        about = re.match(r"/api/models/([^/]+/[^/?]+)(?:/revision/([^?]+))?", self.path)
        file = re.match(r"/([^/]+/[^/]+)/resolve/([^/]+)/([^?]+)", self.path)
        found = about or file
        model = found[1].split("/")[1] if found else ""
        if model == "silent":
            self.rfile.read(1)  # until the client has had enough
            self.close_connection = True
        elif model == "page":
            self._send(200, b"<html>log in</html>", {})
        elif model in FAULTS and not (model == "gated" and about):
            status, code = FAULTS[model]
            self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code} if code else {})
        elif about:
            self._about(about[1], about[2] or "main")
        elif file and file[3] in self.files:
            self._file(file[2], file[3], model)
        else:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def _about(self, name: str, revision: str) -> None:
        if revision not in self.revisions:
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        sha = MAIN if revision == "main" else revision
        siblings = [{"rfilename": one, "size": len(content)} for one, content in self.files.items()]
        about = {"id": name, "modelId": name, "sha": sha, "private": False, "tags": [], "siblings": siblings}
        self._send(200, json.dumps(about).encode(), {})

    def _file(self, revision: str, name: str, model: str) -> None:
        content = self.files[name]
        large = name.endswith((".safetensors", ".bin"))
        blob = b"blob %d\0" % len(content) + content
        checksum = hashlib.sha256(content) if large else hashlib.sha1(blob, usedforsecurity=False)
        headers = {"ETag": f'"{checksum.hexdigest()}"', "X-Repo-Commit": revision}
        if large:
            headers |= {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(len(content))}
        if model == "anonymous":
            del headers["X-Repo-Commit"]
        length = len(content)
        if large and model == "corrupt":
            content = bytes(length)
        elif large and model in ("cut", "short") and self.command == "GET":
            content = content[: length // 2]
        self._send(200, content, headers, length if model == "cut" else None)
        self.close_connection = len(content) < length

    def _send(self, status: int, body: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def hub(files: Mapping[str, bytes], *revisions: str) -> Iterator[Hub]:
    """Serve `files` for every model, at the revision ``main`` and at those of `revisions`."""
    kind = type("Handler", (_Handler,), {"files": files, "revisions": {"main", MAIN, *revisions}, "asked": list[str]()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Hub(f"http://127.0.0.1:{server.server_address[1]}", kind.asked)  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
