"""A stand-in for an app with a staging slot, on 127.0.0.1, and an `az` that sets images and swaps.

It behaves as https://learn.microsoft.com/azure/app-service/deploy-staging-slots says: an image is set in one slot and
starts there; a swap exchanges what the two addresses lead to, and nothing else.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

AZ = """#!/bin/sh
echo "$*" >> "$0.calls"
case "$*" in "${FAIL:-nothing}"*) echo "az: no" >&2; exit 1;; esac
case "$*" in
    *"config show"*) echo "DOCKER|$(curl -sS "$SITE/control/staged")";;
    *"slot swap"*) curl -sS -X POST --data '' "$SITE/control/swap";;
    *"container set"*) image=${*#*--image }; curl -sS -X POST --data "${image%% *}" "$SITE/control/set";;
esac
"""


@dataclass
class Process:
    """What answers at an address: its image, its commit, whether it serves, and for how many looks after a swap."""

    image: str
    revision: str
    ready: bool = True
    started: float = field(default_factory=lambda: time.time() - 3600)
    looks: int | None = None  # after a swap; then it answers 503


@dataclass
class Slots:
    """The two addresses, and what an image becomes when it is set."""

    production: Process
    staging: Process
    images: dict[str, Process]
    url: str = ""
    swaps: int = 0


@contextmanager
def serve_slots(slots: Slots, folder: Path) -> Iterator[Slots]:
    """Serve both addresses below one, and put the `az` into `folder`."""
    program = folder / "az"
    program.write_text(AZ, encoding="utf-8")
    program.chmod(0o755)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            if self.path == "/control/swap":
                slots.production, slots.staging = slots.staging, slots.production
                slots.swaps += 1
            elif text != slots.staging.image:
                slots.staging = slots.images[text]
                slots.staging.started = time.time()
            self._answer(200, b"")

        def do_GET(self) -> None:
            if self.path == "/control/staged":
                return self._answer(200, slots.staging.image.encode())
            process = slots.production if self.path.startswith("/production") else slots.staging
            if process is slots.production and slots.swaps and process.looks is not None:
                process.looks -= 1
                process.ready = process.looks >= 0
            if self.path.endswith("/ready"):
                return self._answer(200 if process.ready else 503, b"{}")
            body = {"health": "ok", "revision": process.revision, "uptime_s": time.time() - process.started}
            return self._answer(200, json.dumps(body).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    slots.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield slots
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
