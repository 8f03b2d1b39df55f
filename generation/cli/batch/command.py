"""``batch``: answer a file of requests, in this process or by a deployment."""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from generation.cli.deployment import BATCH_KEY, check_address, read_key
from generation.cli.inputs import add_model, loaded, settings
from generation.cli.option_types import key, whole
from generation.cli.program import HelpFormatter, end_line, program
from generation.config import ROOT
from generation.errors import ApiError, InvalidRequestError

if TYPE_CHECKING:
    from generation.cli.batch.index import Index
    from generation.cli.batch.lines import Source
    from generation.cli.batch.output import Output
    from generation.cli.batch.runner import Backend, Runner
    from generation.cli.batch.tally import Tally

LINES_FAILED = 3
MOST_REMOTE, PATIENCE_S = 256, 600
MOST = 10**6
SIGNALLED = 128
EPILOG = f"""\
A line of the input has the format of OpenAI's batch API:
  {{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {{...}}}}

After any interruption the same command continues. Ctrl-C finishes the running lines; a second Ctrl-C stops at once.

exit status: 0 every line is answered, {LINES_FAILED} every line is answered and some have failed, 1 the run had to
end early, 2 a wrong call, input, setting or model, 130 stopped by Ctrl-C, 143 by SIGTERM. docs/bulk.md has recipes.
"""


def register(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "batch",
        help="answer a file of requests, here or by a deployment",
        usage="%(prog)s [options] INPUT OUTPUT",
        description="Answer a file of requests in OpenAI's batch format, in this process or by a deployment.",
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("input", metavar="INPUT", help="a line of JSON for each request, plain or gzip; - reads standard input")
    add("output", metavar="OUTPUT", help="file to which answers are appended; - writes to standard output")
    add_model(parser)
    add("--url", help="address of a deployment, with its route prefix, such as https://APP.azurewebsites.net/api")
    add("--key", type=key, help=f"function key or API key; better in the environment, as {BATCH_KEY}")
    many = f"maximum number of concurrent lines (default: twice MAX_RUNNING; with --url {MOST_REMOTE})"
    add("--concurrency", type=whole(1, MOST), metavar="N", help=many)
    patience = f"with --url: seconds without an answer after which the run ends (default: {PATIENCE_S})"
    add("--patience", type=whole(1, MOST), metavar="S", help=patience)
    add("--ordered", action="store_true", help="write answers in the order of the input, not as they arrive")
    add("--retry-failed", action="store_true", help="send the lines again that failed in an earlier run")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from generation.cli.batch.index import Index
    from generation.cli.batch.lines import open_source
    from generation.cli.batch.output import open_output
    from generation.cli.batch.tally import Tally

    _check(options)
    with open_source(options.input) as source, Index() as index:
        index.fill(source)
        ways = {"ordered": options.ordered, "retry_failed": options.retry_failed}
        with open_output(options.output, index, **ways) as output:
            tally = Tally(index.lines, index.done, index.failed)
            status = 0
            if index.done < index.lines:
                status = _answer_all(options, source, index, output, tally)
            print(tally.summary(), file=sys.stderr)
    if tally.done < tally.total:
        if options.output != "-":
            print(f"To continue: {_again(options)}", file=sys.stderr)
        return status or 1
    return status or (LINES_FAILED if tally.failed else 0)


def _check(options: argparse.Namespace) -> None:
    """Check the address and the key; refuse options that contradict each other."""
    if options.url is not None:
        check_address(options.url)
        options.key = read_key(options.key, BATCH_KEY)
        if options.model is not None:
            raise InvalidRequestError("--model is the model of this process: not together with --url")
    elif options.key is not None or options.patience is not None:
        raise InvalidRequestError("--key and --patience are for a deployment: only together with --url")
    if options.ordered and options.retry_failed:
        raise InvalidRequestError("--retry-failed appends what failed at the end: not together with --ordered")
    if options.input != "-" and os.path.realpath(options.input) == os.path.realpath(options.output):
        raise InvalidRequestError("INPUT and OUTPUT are the same file")


def _answer_all(options: argparse.Namespace, source: "Source", index: "Index", output: "Output", tally: "Tally") -> int:
    """Answer the remaining lines; print an error that ends the run early; return the exit status.

    Raises:
        InvalidRequestError: the address, the key or the input is wrong.
        UsageError: the model is wrong.
    """
    import asyncio

    try:
        with _backend(options) as backend:
            return asyncio.run(_work(backend, source, index, output, tally, ordered=options.ordered))
    except InvalidRequestError:
        raise
    except ApiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        end_line()
        return SIGNALLED + signal.SIGINT


async def _work(
    backend: "Backend", source: "Source", index: "Index", output: "Output", tally: "Tally", *, ordered: bool
) -> int:
    from generation.cli.batch.runner import Runner
    from generation.cli.batch.tally import Progress

    runner = Runner(backend, output, tally, ordered=ordered)
    with _signals(runner) as caught:
        try:
            await backend.open()
            await runner.run(source, index, Progress(sys.stderr, tally))
        finally:
            backend.close()
    return SIGNALLED + caught[0] if caught else 0


@contextmanager
def _signals(runner: "Runner") -> Iterator[list[int]]:
    """Make the first SIGINT or SIGTERM stop the runner, and the next end it at once; yield those received."""
    import asyncio

    caught: list[int] = []
    loop = asyncio.get_running_loop()

    def stop() -> None:
        print("\nFinishing the running lines; Ctrl-C again stops at once.", file=sys.stderr, flush=True)
        runner.stop()

    def handle(number: int, _: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        loop.call_soon_threadsafe(stop)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, one in before.items():
            signal.signal(number, one)


@contextmanager
def _backend(options: argparse.Namespace) -> "Iterator[Backend]":
    """Create the backend that answers the lines: this process or a deployment."""
    if options.url is not None:
        from generation.cli.batch.remote import RemoteBackend

        yield RemoteBackend(
            options.url, options.key, options.concurrency or MOST_REMOTE, options.patience or PATIENCE_S
        )
        return
    os.environ["MODEL_DIR"] = str(settings(options.model).model_dir)
    if not sys.flags.dev_mode:
        import logging

        logging.getLogger("generation").addHandler(logging.NullHandler())  # the output has the errors
    from generation.cli.batch.local import LocalBackend, widen
    from generation.cli.host import endpoints, route_prefix
    from generation.model.machine import memory_limit

    widen(os.environ, memory_limit())
    sys.path.insert(0, str(ROOT))
    from function_app import app, service

    host_json = ROOT / "host.json"
    try:
        loaded(service)
        yield LocalBackend(endpoints(app, host_json), service, f"/{route_prefix(host_json)}", options.concurrency)
    finally:
        service.stop()


def _again(options: argparse.Namespace) -> str:
    """Return the command that continues the run; without a key, and without ``--retry-failed``."""
    words = [*program(), "batch", options.input, options.output]
    for name in ("model", "url", "concurrency", "patience"):
        if getattr(options, name) is not None:
            words += [f"--{name}", str(getattr(options, name))]
    return shlex.join([*words, "--ordered"] if options.ordered else words)
