"""``serve``: serve the app on this machine with the embedded host, which needs no Functions host."""

import argparse
import contextlib
import sys
from typing import Any

from generation.cli.option_types import given, key, whole
from generation.cli.program import FAILURE, OK, HelpFormatter, UsageError, end_line
from generation.config import ROOT

LAST_PORT = 65535


def register(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "serve",
        help="serve function_app.py on this machine, without the Functions host",
        usage="%(prog)s [options]",
        description="Serve function_app.py on this machine, without the Functions host. Ctrl-C stops the server.",
        epilog="The setting MODEL_DIR chooses the model. A page to try it is at /api/playground.\n\n"
        "exit status: 0 stopped by Ctrl-C or SIGTERM, 1 failed, 2 a wrong call, setting or model.",
        formatter_class=HelpFormatter,
    )
    # An empty host would listen everywhere, and an empty key would open every route.
    parser.add_argument("--host", type=_host, default="127.0.0.1", help="address to listen on (default: %(default)s)")
    port = "port; 0 takes a free one (default: %(default)s)"
    parser.add_argument("--port", type=whole(0, LAST_PORT), default=7071, metavar="N", help=port)
    parser.add_argument("--key", type=key, help="require this function key on routes where Azure requires one")
    parser.set_defaults(command=_run)


def _host(text: str) -> str:
    host = given(text)
    if "/" in host or host.count(":") == 1:
        raise argparse.ArgumentTypeError(f"{host[:64]!r} is not an address or a host name; the port is --port")
    return host


def _run(options: argparse.Namespace) -> int:
    import signal
    import threading

    from generation.observe.log_lines import log_to

    log_to(sys.stderr)
    from generation.cli.host import LocalHost, Server, bind, with_cors

    shown = f"[{options.host}]" if ":" in options.host else options.host
    try:
        listener = bind(options.host, options.port)
    except OSError as error:
        raise UsageError(f"cannot listen on {shown}:{options.port}: {error.strerror or error}") from None
    except UnicodeError:
        raise UsageError(f"cannot listen on {shown}:{options.port}: this is not a host name") from None
    sys.path.insert(0, str(ROOT))
    from function_app import app, service

    def stop(now: bool) -> None:  # noqa: FBT001 - the signature of a callback
        service.stop(0.0 if now else service.settings.drain_s)

    host = with_cors(LocalHost(app, ROOT / "host.json", options.key), service.settings.cors_origins)
    server = Server(host, options.host, service.settings.drain_s, stop)
    port = listener.getsockname()[1]
    # uvicorn raises the signal that stopped it again once it has ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    def announce() -> None:
        service.wait()
        config = service.model_config()
        if config is None:
            server.should_exit = True
            return
        server.listening.wait()
        address = f"http://{shown}:{port}"
        with contextlib.suppress(OSError):  # nothing reads standard output: the server runs all the same
            print(
                f"{config.name} ({config.precision}, context {config.context}) ready after {service.load_s:.2f} s "
                f"on {address}/api\n"
                "This is the project's own local host, not func start. Try:\n"
                f"  curl '{address}/api/generate/Once%20upon%20a%20time?max_new_tokens=60'",
                flush=True,
            )

    threading.Thread(target=announce, daemon=True).start()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        end_line()
    if service.refused:
        raise UsageError(str(service.reason))
    if service.reason is not None:
        print(f"error: {service.reason}", file=sys.stderr)
        return FAILURE
    return OK
