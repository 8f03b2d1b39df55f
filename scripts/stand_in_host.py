#!/usr/bin/env python3
"""Stand in for the Functions host in tests of stopping; it reacts to signals as the genuine host was observed to.

It ignores SIGTERM. On SIGINT it stops listening, lets open connections continue for `GRACE_S`, resets those that
remain, kills its worker and ends. It relays requests to the worker, a separate process that serves ``function_app.py``
of the current folder. It does not check keys: set ``AUTH_LEVEL=anonymous``.

Usage: stand_in_host.py               serve at the address in ASPNETCORE_URLS, such as http://+:80
       stand_in_host.py worker PORT   the command of its worker
  STAND_IN_STEP_S   seconds to add to each run of the model, so that a stream of N tokens takes a known time
"""

import asyncio
import os
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

GRACE_S = 30.0
ENDING_S = 3.0  # an idle genuine host was observed to end after 1 to 5 s
PIECE = 65536


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes as they arrive, until the other end closes."""
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()


class Host:
    """Relays connections to the worker."""

    def __init__(self, worker_port: int) -> None:
        self._worker_port = worker_port
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError
        self._open[task] = writer
        try:
            from_worker, to_worker = await asyncio.open_connection("127.0.0.1", self._worker_port)
            directions = {
                asyncio.ensure_future(copy(reader, to_worker)),
                asyncio.ensure_future(copy(from_worker, writer)),
            }
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            for one in directions:
                one.cancel()
            await asyncio.gather(*directions, return_exceptions=True)  # either end may have reset its connection
            to_worker.close()
        finally:
            writer.close()
            del self._open[task]

    async def drain(self) -> None:
        """Let open connections continue for `GRACE_S`, then reset the remaining ones."""
        if self._open:
            await asyncio.wait(set(self._open), timeout=GRACE_S)
        for task, writer in list(self._open.items()):
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            task.cancel()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def host() -> None:
    """Serve until SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, lambda: None)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    port = free_port()
    worker = await asyncio.create_subprocess_exec(sys.executable, __file__, "worker", str(port))
    while True:
        with suppress(OSError):
            _, probe = await asyncio.open_connection("127.0.0.1", port)
            probe.close()
            break
        if worker.returncode is not None:
            sys.exit(worker.returncode)
        await asyncio.sleep(0.1)
    address = urlsplit(os.environ["ASPNETCORE_URLS"].replace("//+", "//0.0.0.0"))
    relaying = Host(port)
    server = await asyncio.start_server(relaying.relay, address.hostname, address.port)
    await stop.wait()
    server.close()
    await relaying.drain()
    with suppress(ProcessLookupError):
        worker.kill()
    await worker.wait()
    await asyncio.sleep(ENDING_S)


def slow_down(seconds: float) -> None:
    """Delay every run of a model by a number of seconds."""
    import onnxruntime

    genuine = onnxruntime.InferenceSession.run_with_iobinding

    def run(self: onnxruntime.InferenceSession, *arguments: object) -> None:
        time.sleep(seconds)
        genuine(self, *arguments)

    onnxruntime.InferenceSession.run_with_iobinding = run


def work(port: int) -> None:
    """Serve the app like the HTTP server of Azure's worker."""
    sys.path.insert(0, str(Path.cwd()))
    import uvicorn

    from generation.cli.host import LocalHost

    slow_down(float(os.environ.get("STAND_IN_STEP_S", "0")))
    from function_app import app

    uvicorn.run(LocalHost(app, Path("host.json")), port=port, log_level="warning")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(int(sys.argv[2]))
    else:
        asyncio.run(host())
