"""The official runtime and the host's stand-in, as one process: ``python -m tests.runtime.server SCRIPT KEY``.

With `OLD_HOST` set, the stand-in keeps an invocation's id that the caller sends, as hosts did before the fix of 2025.
Prints one line of JSON when it serves, or when the runtime has refused the app. Whatever else goes to stdout, as the
access log of the runtime's own server does, is joined to stderr. Runs on Python 3.13.
"""

import asyncio
import gc
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, TextIO

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from generation.cli.host import bind
from generation.cli.host_limits import HEAD_BYTES, LimitedProtocol
from generation.config import ROOT
from tests.runtime.front import Front
from tests.runtime.worker import Worker, WorkerError

STATM = Path("/proc/self/statm")
PAGE = os.sysconf("SC_PAGE_SIZE")


class QuietProtocol(LimitedProtocol):
    """Writes no access log; uvicorn's own setting would silence the runtime's server as well, which is under test."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.access_log = False


class Harness:
    """Answers the tests' own questions below ``/admin/harness``, which on Azure belongs to the host; else the front."""

    def __init__(self, worker: Worker, front: Front) -> None:
        self._worker = worker
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"]
        if path == "/admin/harness/report":
            await JSONResponse(self._report())(scope, receive, send)
        elif path == "/admin/harness/forget":
            self._worker.kept().clear()
            await JSONResponse(self._report())(scope, receive, send)
        elif path == "/admin/warmup":
            await JSONResponse(await self._front.warm_up())(scope, receive, send)
        else:
            await self._front(scope, receive, send)

    def _report(self) -> dict[str, Any]:
        gc.collect()
        return {
            "failures": self._front.failures,
            "invoking": self._front.invoking,
            "kept": len(self._worker.kept()),
            "blocks": sys.getallocatedblocks(),
            "resident_bytes": int(STATM.read_text().split()[1]) * PAGE if STATM.exists() else 0,
        }


async def serve(script: Path, key: str, announce: TextIO) -> None:
    """Serve the app until told to stop."""
    sys.path[:0] = [str(script.parent), str(ROOT)]
    os.environ["PYTHON_SCRIPT_FILE_NAME"] = script.name
    # Azure's worker hands the app's log records to the host; here they go to stderr.
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    worker = Worker()
    try:
        await worker.start(script.parent)
    except WorkerError as error:
        print(json.dumps({"error": str(error)}), file=announce, flush=True)
        return
    service = getattr(sys.modules[script.stem], "service", None)
    if service is not None:
        await asyncio.to_thread(service.wait)
    prefix = json.loads((ROOT / "host.json").read_text())["extensions"]["http"]["routePrefix"]
    listener = bind("127.0.0.1", 0)
    listener.listen()  # before it is announced
    front = Front(worker, prefix, key, old=bool(os.environ.get("OLD_HOST")))
    config = uvicorn.Config(
        Harness(worker, front),
        http=QuietProtocol,
        h11_max_incomplete_event_size=HEAD_BYTES,
        log_config=None,
        lifespan="off",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=1,
    )
    ready = {
        "url": f"http://127.0.0.1:{listener.getsockname()[1]}",
        "worker_url": worker.http_uri,
        "start_s": worker.start_s,
        "start_cpu_s": worker.start_cpu_s,
        "load_s": getattr(service, "load_s", None),
        "modules": sorted(name for name in sys.modules if "." not in name),
        "functions": {one.name: one.trigger for one in worker.functions},
    }
    print(json.dumps(ready), file=announce, flush=True)
    await uvicorn.Server(config).serve([listener])


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as announcements:
        os.dup2(2, 1)
        asyncio.run(serve(Path(sys.argv[1]).resolve(), sys.argv[2], announcements))
