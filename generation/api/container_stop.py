"""Ends running requests when the container's entry point says that the time to stop is nearly over.

It says so through a socket, not by a signal: at SIGTERM Azure's worker stops its HTTP server, while the Functions host
still sends it requests. This way the server goes on, and requests that still come are answered with 503.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

VARIABLE = "STOP_SOCKET"  # which scripts/entrypoint.py sets to a name in Linux's abstract namespace
MESSAGE = b"stop"


def when_told(end: Callable[[], object], environment: Mapping[str, str] = os.environ) -> threading.Thread | None:
    """Call `end` in a thread of its own once the entry point says so; return that thread, None without an entry point.

    Nothing is called if the entry point ends without a word.
    """
    name = environment.get(VARIABLE)
    if not name:
        return None
    thread = threading.Thread(target=_wait, args=(name, end), name="container stop", daemon=True)
    thread.start()
    return thread


def _wait(name: str, end: Callable[[], object]) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(f"\0{name}")
            told = connection.recv(len(MESSAGE)) == MESSAGE
        except OSError as error:
            log.warning("the entry point cannot be reached: %s; a stop will cut off what runs longer than it", error)
            return
    if told:
        log.info("the container stops: running requests are ended")
        end()
