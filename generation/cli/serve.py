"""``serve``: the app under the embedded host."""

import argparse
import sys
from typing import Any

from generation.config import ROOT

USER_ERROR = 2
LAST_PORT = 65535


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "serve",
        help="serve function_app.py on this machine, without the Functions host",
        description="Serve function_app.py on this machine, without the Functions host. Ctrl-C stops it.",
        epilog="The model is that of the setting MODEL_DIR. A page to try it is at /api/playground.",
    )
    parser.add_argument("--host", type=_given, default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=7071, help="port; 0 takes a free one (default: %(default)s)")
    parser.add_argument("--key", type=_given, help="ask for this function key where the platform would ask for one")
    parser.set_defaults(command=_run)


def _given(text: str) -> str:
    """Refuse an empty value, as of a variable that is not set: it would open every route, or listen everywhere."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it must not be empty")
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:9]) <= LAST_PORT):
        raise argparse.ArgumentTypeError(f"{text[:32]!r} is no number from 0 to {LAST_PORT}")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    import signal
    import threading

    from generation.observe.log_lines import log_to

    log_to(sys.stderr)
    from generation.cli.host import LocalHost, Server, bind, with_cors

    try:
        listener = bind(options.host, options.port)
    except OSError as error:
        print(f"error: cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return USER_ERROR
    sys.path.insert(0, str(ROOT))
    from function_app import app, service

    def stop(now: bool) -> None:  # noqa: FBT001 - the signature of a callback
        service.stop(0.0 if now else service.settings.drain_s)

    host = with_cors(LocalHost(app, ROOT / "host.json", options.key), service.settings.cors_origins)
    server = Server(host, options.host, service.settings.drain_s, stop)
    port = listener.getsockname()[1]
    # uvicorn raises the signal that stopped it once more when it is done.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    def announce() -> None:
        service.wait()
        config = service.model_config()
        if config is None:
            print(f"error: {service.reason}", file=sys.stderr, flush=True)
            server.should_exit = True
            return
        address = f"http://{options.host}:{port}"
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
        return 0
    return 0 if service.reason is None else 1
