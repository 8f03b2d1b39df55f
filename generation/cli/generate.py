"""``generate``: continue a text in this process, without a server, and print tokens as they arrive."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from generation.cli import chat
from generation.cli.inputs import add_model, add_text, loaded, read_text, settings
from generation.cli.option_types import number, stop_string, whole
from generation.cli.program import HelpFormatter, UsageError, live_line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from generation.api.bodies import GenerateBody
    from generation.api.generate import Whole
    from generation.config import Settings
    from generation.service import Loaded

Answer = TypeVar("Answer")
# Options that are fields of POST /api/generate, with the type of their values. The API checks the ranges.
FIELDS: dict[str, type] = {
    "max_new_tokens": int,
    "num_return_sequences": int,
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "typical_p": float,
    "repetition_penalty": float,
    "seed": int,
    "timeout_s": float,
}
HELP = {
    "max_new_tokens": "maximum number of tokens to generate (default: 50)",
    "num_return_sequences": "sequences to generate (default: 1); several are printed at the end, separated by ---",
    "temperature": "lower is more predictable; 0 is greedy (default: 1)",
    "top_k": "keep this many of the likeliest tokens; 0 = all (default: 50)",
    "top_p": "keep the fewest likeliest tokens that sum to this probability (default: 1)",
    "min_p": "keep tokens whose probability is at least this fraction of the top token's (default: 0)",
    "typical_p": "keep the fewest most typical tokens that sum to this probability (default: 1)",
    "repetition_penalty": "above 1, makes tokens of the prompt and the text less likely; 1 = off (default: 1)",
    "seed": "same seed, same text",
    "timeout_s": "maximum time in seconds; partial output is returned",
}

EPILOG = """\
Standard output gets the prompt and its continuation, standard error everything else. Write -- before a text that
begins with a hyphen:
  generate --max-new-tokens 20 -- "-- Chapter 1"
"""


def register(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "generate",
        help="generate text without a server",
        usage="%(prog)s [options] TEXT",
        description="Continue a text in this process, without a server, and print tokens as they arrive.",
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    add_text(parser, "the text to continue")
    add_model(parser)
    for name, kind in FIELDS.items():
        option = f"--{name.replace('_', '-')}"
        metavar = "N" if kind is int else "X"
        parser.add_argument(option, type=whole() if kind is int else number, metavar=metavar, help=HELP[name])
    stop = r"end before this string; may be repeated; \n is a line break, \t a tab, \\ a backslash"
    parser.add_argument("--stop", action="append", type=stop_string, metavar="S", help=stop)
    parser.add_argument("--ignore-eos", action="store_true", help="continue past the end-of-text token")
    parser.add_argument("--only-new", action="store_true", help="do not print the prompt")
    parser.add_argument("--chat", action="store_true", help="reply to TEXT; the model needs a chat template")
    parser.add_argument("--system", metavar="TEXT", help="with --chat, the system message")
    body = "print the response body of POST /api/generate, or with --chat of POST /api/v1/chat/completions, instead"
    parser.add_argument("--json", action="store_true", help=body)
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    import json

    from generation.api.bodies import GenerateBody, parse_json

    values = {name: getattr(options, name) for name in FIELDS if getattr(options, name) is not None}
    values |= {"stop": options.stop, "ignore_eos": options.ignore_eos}
    show = not options.json
    if options.chat:
        asked = chat.parse(options, values)
        answer = _with_model(options.model, lambda model, settings: chat.generate(model, settings, asked, show=show))
        if options.json:
            print(json.dumps(answer, ensure_ascii=False))
        return 0
    if options.system is not None:
        raise UsageError("--system: only with --chat")
    values |= {"prompt": read_text(options.text), "return_full_text": not options.only_new}
    body = parse_json(GenerateBody, json.dumps(values).encode())
    found = _with_model(options.model, lambda model, settings: _generate(model, settings, body, show=show))
    if options.json:
        print(bytes(found.response().body).decode())
    elif "timeout" in found.reasons:
        print("stopped at the deadline", file=sys.stderr)
    return 0


def _with_model(folder: Path | None, work: "Callable[[Loaded, Settings], Coroutine[Any, Any, Answer]]") -> Answer:
    """Load the model, run `work` with it and the settings, and stop the engine; return the result."""
    import asyncio
    import logging

    from generation.service import Service

    logging.getLogger("generation").addHandler(logging.NullHandler())  # the caller reports errors
    service = Service(settings(folder)).start()
    try:
        return asyncio.run(work(loaded(service), service.settings))
    finally:
        service.stop()


async def _generate(model: "Loaded", settings: "Settings", body: "GenerateBody", *, show: bool) -> "Whole":
    """Generate; with `show`, print a single sequence as it arrives, or several at the end."""
    from generation.api.generate import Whole, engine_request

    asked = await engine_request(body, model, settings)
    found = Whole(body, asked)
    live = show and asked.choices == 1
    with live_line(shown=live):
        if live:
            print(found.texts[0], end="", flush=True)
        async for item in model.engine.submit(asked):
            text = found.add(item)
            if live:
                print(text, end="", flush=True)
    if show:
        print("" if live else "\n---\n".join(found.texts), flush=True)
    return found
