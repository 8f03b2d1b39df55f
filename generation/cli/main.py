"""The parser and the exit statuses. An error is one line on stderr, never a traceback."""

import argparse
import contextlib
import os
import sys
from pathlib import Path

from generation import __version__
from generation.cli import bench, export, generate, serve, tokenize
from generation.cli.batch import command as batch
from generation.config import SettingsError
from generation.errors import ApiError, InvalidRequestError

PROGRAM = "distilgpt2-functions"  # where a wheel is installed: pyproject.toml
OK, FAILURE, USER_ERROR, INTERRUPTED = 0, 1, 2, 130
COMMANDS = (generate, tokenize, serve, batch, bench, export)
EXAMPLES = """\
examples:
  python -m generation generate "Once upon a time"
        text, token by token, on this terminal; no server needed
  python -m generation generate "The dog" --num-return-sequences 3 --seed 7 --json
        one JSON object on stdout, for scripts
  python -m generation generate "How are you?" --chat
        the answer of a model with a chat template
  echo "Tom had a red ball." | python -m generation tokenize -
        the tokens of a text
  python -m generation serve --port 8080
        the HTTP API, and a page to try it at /api/playground
  python -m generation batch requests.jsonl answers.jsonl
        a file of requests, in this process; with --url by a deployment
  python -m generation export --help
        how to make a model; needs packages of its own, which it names

exit status: 0 done, 1 failed, 2 a wrong call, setting or model, 3 lines of a batch failed, 130 stopped by Ctrl-C.
Settings, such as MODEL_DIR and THREADS, are environment variables; the table is in README.md.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit status: 0, 1 for a failure, 2 for a wrong call or setting, 130 for Ctrl-C."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        status = _run(given)
    except (SettingsError, InvalidRequestError) as error:
        status = _fail(USER_ERROR, str(error))
    except ApiError as error:
        status = _fail(FAILURE, str(error))
    except ModuleNotFoundError as error:
        status = _fail(USER_ERROR, f"{error}. `make run` sets up .venv/bin/python, which has what is needed")
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe, as `head` does. Without this, Python reports it again when it closes stdout.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = FAILURE
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        status = _fail(FAILURE, f"unexpected {type(error).__name__}: {error} (python -X dev shows where)")
    return status


def _run(given: list[str]) -> int:
    if given[:1] == ["export"]:  # it has a parser of its own, whose options this one does not know
        return export.run(given[1:])
    options = _parser().parse_args(given)
    status = int(options.command(options))
    sys.stdout.flush()
    return status


def _fail(status: int, message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    program = PROGRAM if Path(sys.argv[0]).stem == PROGRAM else "python -m generation"
    parser = argparse.ArgumentParser(
        prog=program,
        description="Text generation with GPT-2 models in ONNX.",
        epilog=EXAMPLES.replace("python -m generation", program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for one in COMMANDS:
        one.register(commands)
    return parser
