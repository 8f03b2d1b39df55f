"""Parse the command line, run a command and return its exit status. An error is one line on standard error."""

import argparse
import errno
import os
import sys

from generation import __version__
from generation.cli import bench, export, generate, serve, tokenize
from generation.cli.batch import command as batch
from generation.cli.program import (
    FAILURE,
    INTERRUPTED,
    USER_ERROR,
    HelpFormatter,
    Parser,
    UsageError,
    end_line,
    flush_output,
    open_streams,
    program,
    unwritable,
)
from generation.config import SettingsError
from generation.errors import ApiError, InvalidRequestError

COMMANDS = (generate, tokenize, serve, batch, bench, export)
EXAMPLES = """\
examples:
  python -m generation generate "Once upon a time"
        generate text on this terminal, token by token; no server needed
  python -m generation generate "The dog" --num-return-sequences 3 --seed 7 --json
        print one JSON object, for scripts
  python -m generation generate "How are you?" --chat
        reply to a message, with a model that has a chat template
  echo "Tom had a red ball." | python -m generation tokenize -
        show the tokens of a text
  python -m generation serve --port 8080
        serve the HTTP API, and a page to try it at /api/playground
  python -m generation batch requests.jsonl answers.jsonl
        answer a file of requests in this process; with --url by a deployment
  python -m generation bench --requests 40
        put load on the server at port 7071 and measure it
  python -m generation export --help
        make a model of a checkpoint; needs further packages

Settings, such as MODEL_DIR and THREADS, are environment variables; the table is in README.md.

exit status: 0 done, 1 failed, 2 a wrong call, setting or model, 3 lines of a batch failed, 130 stopped by Ctrl-C.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit status: 0, 1 for a failure, 2 for a wrong call or setting, 130 for Ctrl-C."""
    open_streams()
    return flush_output(_run(sys.argv[1:] if arguments is None else arguments))


def _run(given: list[str]) -> int:
    """Run a command; turn what it raises into a message and a status."""
    try:
        status = _call(given)
    except (SettingsError, UsageError, InvalidRequestError) as error:
        status = _fail(USER_ERROR, str(error))
    except ApiError as error:
        status = _fail(FAILURE, str(error))
    except ModuleNotFoundError as error:
        status = _fail(USER_ERROR, f"{error}. `make run` sets up .venv/bin/python, which has what is needed")
    except KeyboardInterrupt:
        end_line()
        status = INTERRUPTED
    except BrokenPipeError:  # the reader of standard output has closed it
        status = FAILURE
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
            return _fail(FAILURE, unwritable(error))
        if sys.flags.dev_mode:
            raise
        status = _fail(FAILURE, f"unexpected {type(error).__name__}: {error} (python -X dev shows where)")
    return status


def _call(given: list[str]) -> int:
    parser = _parser()
    _complete(parser)
    if not given:
        parser.print_help(sys.stderr)
        return USER_ERROR
    if given[0] == "export":  # it has a parser of its own, whose options this one does not know
        return export.run(given[1:])
    try:
        options = parser.parse_args(given)
    except SystemExit as ended:  # --help, --version, or a wrong call, whose error has been printed
        return int(ended.code or 0)
    return int(options.command(options))


def _complete(parser: argparse.ArgumentParser) -> None:
    """Print completions and exit if a shell asks for them; the package is that of the group ``completion``."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)


def _fail(status: int, message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    name = " ".join(program())
    parser = Parser(
        prog=name,
        description="Text generation with GPT-2 models in ONNX.",
        epilog=EXAMPLES.replace("python -m generation", name),
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for one in COMMANDS:
        one.register(commands)
    return parser
