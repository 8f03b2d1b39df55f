"""Adapts the HTTP server that Azure's Python worker starts in this process to the host in front of it.

The http extension makes that server, with uvicorn and its defaults, after it has imported ``function_app.py``.
"""

import functools
import logging
from importlib.metadata import version
from typing import Any

import uvicorn
from azurefunctions.extensions.http.fastapi import web as extension

# The host keeps idle connections to the worker for a minute and reuses them. A POST on a connection that the worker is
# just closing is lost, and its caller never gets an answer. The worker must therefore keep connections longer.
KEEP_ALIVE_S = 120


class WorkerServerError(Exception):
    """The http extension makes its server in a way that cannot be adapted."""


def adapt_worker_server() -> None:
    """Make the worker's server keep idle connections for `KEEP_ALIVE_S` seconds and write no access log.

    Raises:
        WorkerServerError: a server that the extension makes would close its idle connections earlier.
    """
    # The access log would hold function keys and prompts. A filter, because uvicorn replaces the handlers at its start.
    logging.getLogger("uvicorn.access").addFilter(lambda _: False)
    with_default = functools.partialmethod(vars(uvicorn.Config)["__init__"], timeout_keep_alive=KEEP_ALIVE_S)
    setattr(uvicorn.Config, "__init__", with_default)  # noqa: B010 - mypy takes no assignment to a method
    kept_s = getattr(_configuration(), "timeout_keep_alive", None)
    if kept_s != KEEP_ALIVE_S:
        name = "azurefunctions-extensions-http-fastapi"
        raise WorkerServerError(
            f"{name} {version(name)} makes a server that keeps idle connections for {kept_s} s instead of "
            f"{KEEP_ALIVE_S} s, so requests would be lost: install the version that requirements.txt names"
        )


def _configuration() -> Any:
    """Return the configuration of the server that the extension makes; None if it makes none with uvicorn."""
    made: list[Any] = []

    class Recorder:
        def __init__(self, config: Any) -> None:
            made.append(config)

        async def serve(self) -> None:
            """Serve nothing."""

    genuine = uvicorn.Server
    setattr(uvicorn, "Server", Recorder)  # noqa: B010
    serving = extension.WebServer("127.0.0.1", 0, extension.WebApp()).serve()
    try:
        serving.send(None)
    except StopIteration:
        pass
    finally:
        serving.close()
        setattr(uvicorn, "Server", genuine)  # noqa: B010
    return made[0] if made else None
