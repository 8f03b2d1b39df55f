"""A stand-in for an app with a staging slot, on 127.0.0.1, and an `az` that sets images and swaps.

It behaves as https://learn.microsoft.com/azure/app-service/deploy-staging-slots says: an image is set in one slot and
starts there; a swap exchanges what the two addresses lead to, and nothing else.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.loopback import Asked, serve_answers

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

    def answer(asked: Asked) -> tuple[int, bytes]:
        match asked.method, asked.path:
            case "POST", "/control/swap":
                slots.production, slots.staging = slots.staging, slots.production
                slots.swaps += 1
                return 200, b""
            case "POST", _:
                image = asked.body.decode()
                if image != slots.staging.image:
                    slots.staging = slots.images[image]
                    slots.staging.started = time.time()
                return 200, b""
            case _, "/control/staged":
                return 200, slots.staging.image.encode()
        process = slots.production if asked.path.startswith("/production") else slots.staging
        if process is slots.production and slots.swaps and process.looks is not None:
            process.looks -= 1
            process.ready = process.looks >= 0
        if asked.path.endswith("/ready"):
            return 200 if process.ready else 503, b"{}"
        health = {"health": "ok", "revision": process.revision, "uptime_s": time.time() - process.started}
        return 200, json.dumps(health).encode()

    with serve_answers(answer) as slots.url:
        yield slots
