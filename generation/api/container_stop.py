"""Ends running requests when the container's entry point reports that the grace period is nearly over.

The entry point uses a socket because at SIGTERM Azure's worker stops its HTTP server while the Functions host still
sends requests to it. With a socket the server keeps running and answers new requests with 503.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

VARIABLE = "STOP_SOCKET"  # scripts/entrypoint.py sets it to a name in Linux's abstract namespace
MESSAGE = b"stop"


def on_container_stop(
    end: Callable[[], object], environment: Mapping[str, str] = os.environ
) -> threading.Thread | None:
    """Start a thread that calls `end` when the entry point asks for it; return the thread, or None without one.

    If the entry point ends without asking, `end` is not called.
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
            asked = connection.recv(len(MESSAGE)) == MESSAGE
        except OSError as error:
            log.warning("the entry point cannot be reached: %s; a stop will cut off running requests", error)
            return
    if asked:
        log.info("the container is stopping: ending running requests")
        end()
