"""``bench``: put load on a running deployment and measure it."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generation.cli.deployment import BENCH_KEY, KEY_REFUSED, check_address, key_refused, read_health, read_key
from generation.cli.option_types import given, key, positive, whole
from generation.cli.program import FAILURE, INTERRUPTED, OK, HelpFormatter, end_line
from generation.errors import InvalidRequestError

if TYPE_CHECKING:
    from generation.cli.bench_load import Load

PROMPT = "Once upon a time"
MOST_CLIENTS, MOST = 512, 10**9
EPILOG = f"""\
The summary goes to standard output, progress to standard error. Ctrl-C ends the load early and prints the summary of
the requests that have ended.

exit status: 0 a request succeeded, 1 none did or there is no such server, 2 a wrong call, address or key,
{INTERRUPTED} stopped by Ctrl-C.
"""


def register(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "bench",
        help="put load on a running deployment and measure it",
        usage="%(prog)s [options]",
        description="Put load on a running deployment and measure it. Every request streams a completion.",
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:7071/api", help="address with the route prefix (default: %(default)s)")
    add("--key", type=key, help=f"function key or API key; better in the environment, as {BENCH_KEY}")
    clients = "closed loop: concurrent streams (default: %(default)s)"
    add("--clients", type=whole(1, MOST_CLIENTS), default=8, metavar="N", help=clients)
    add("--rate", type=positive(MOST), metavar="X", help="open loop: requests per second, instead of --clients")
    add("--requests", type=whole(1, MOST), default=100, metavar="N", help="maximum requests (default: %(default)s)")
    duration = "maximum seconds in which requests are sent (default: %(default)s)"
    add("--duration", type=positive(MOST), default=60.0, metavar="S", help=duration)
    timeout = "maximum seconds that a request may take (default: %(default)s)"
    add("--timeout", type=positive(MOST), default=60.0, metavar="S", help=timeout)
    add("--prompt", type=given, default=PROMPT, metavar="TEXT", help="prompt of every request (default: %(default)r)")
    tokens = "tokens to generate in each request (default: %(default)s)"
    add("--max-new-tokens", type=whole(1, MOST), default=64, metavar="N", help=tokens)
    add("--stop-at-end", action="store_true", help="let the model end a text before --max-new-tokens")
    add("--json", action="store_true", help="print one JSON object instead of the table")
    add("--output", type=_file, metavar="FILE", help="write the JSON object to a file as well")
    parser.set_defaults(command=_bench)


def _file(text: str) -> Path:
    return Path(given(text))


def _check_output(path: Path) -> None:
    """Open the output file once, so that a wrong path fails before the load and not after it.

    Raises:
        InvalidRequestError: the file cannot be written.
    """
    try:
        path.open("a").close()
    except OSError as error:
        raise InvalidRequestError(f"--output: {path} cannot be written: {error.strerror}") from None


def _look(load: "Load") -> dict[str, Any] | None:
    """Return what ``/health`` says about the deployment; print an error and return None if no load can be sent.

    Raises:
        InvalidRequestError: the address or the key is wrong.
    """
    import http.client

    from generation.cli.bench_load import ask
    from generation.cli.connection_errors import explain

    try:
        with ask(load, "GET", "/health") as response:
            health = read_health(load.url, response.status, response.read())
        with ask(load, "GET", "/v1/models") as response:
            status = response.status
    except (OSError, http.client.HTTPException) as error:
        print(f"error: {load.url} cannot be reached: {explain(error)}", file=sys.stderr)
        return None
    if status in KEY_REFUSED:
        raise InvalidRequestError(key_refused(load.url, status, load.key, BENCH_KEY))
    if not health["model"]:
        print(f"error: {load.url} serves no model: its state is {health.get('state')}", file=sys.stderr)
        return None
    return health


def _bench(options: argparse.Namespace) -> int:
    import json
    import time

    from generation.cli.bench_load import Load, Run
    from generation.cli.bench_report import Progress, summarize, table

    check_address(options.url)
    if options.output is not None:
        _check_output(options.output)
    body = {
        "prompt": options.prompt, "max_tokens": options.max_new_tokens, "ignore_eos": not options.stop_at_end,
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    load = Load(
        options.url.rstrip("/"), read_key(options.key, BENCH_KEY), body, options.clients, options.rate,
        options.requests, options.duration, options.timeout,
    )  # fmt: skip
    health = _look(load)
    if health is None:
        return FAILURE
    served = health["model"]
    progress = Progress(sys.stderr, load.requests, load.duration_s)
    run = Run(load, lambda one: progress.show(one.outcomes, time.perf_counter() - one.begun))
    run.run()
    progress.clear()
    if run.stopped:
        end_line()
    summary = summarize(run.outcomes, run.begun)
    summary["left_out"] = run.left_out
    summary["load"] = {
        "url": load.url, "model": served.get("name"), "precision": served.get("precision"),
        "loop": "open" if load.rate else "closed", "rate": load.rate, "clients": None if load.rate else load.clients,
        "max_new_tokens": options.max_new_tokens,
    }  # fmt: skip
    if options.output is not None:
        options.output.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(summary) if options.json else table(summary))
    if run.stopped:
        return INTERRUPTED
    return OK if summary["requests"]["succeeded"] else FAILURE
