"""``generate``: continues a text in this process and prints tokens as they arrive."""

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from generation.cli import chat
from generation.cli.inputs import add_model, add_text, read_text, settings
from generation.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from generation.api.bodies import GenerateBody
    from generation.api.generate import Whole
    from generation.service import Service

Answer = TypeVar("Answer")
# Options that are fields of POST /api/generate, with the type of a value; their help is that of the API.
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
    "max_new_tokens": "tokens to generate at most (default: 50)",
    "num_return_sequences": "sequences to generate (default: 1); several are printed at the end, separated by ---",
    "temperature": "lower is more predictable; 0 is greedy (default: 1)",
    "top_k": "keep this many of the likeliest tokens; 0 = all (default: 50)",
    "top_p": "keep the likeliest tokens that hold this much probability (default: 1)",
    "min_p": "keep tokens whose probability is at least this fraction of the top token's (default: 0)",
    "typical_p": "keep the most typical tokens with this much probability (default: 1)",
    "repetition_penalty": "penalise every token seen so far; 1 = off (default: 1)",
    "seed": "same seed, same text",
    "timeout_s": "maximum time in seconds; partial output is returned",
}


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "generate",
        help="generate text without a server",
        description="Continue a text in this process, without a server, and print tokens as they arrive.",
        epilog="Standard output gets the prompt and its continuation, standard error everything else.",
    )
    add_text(parser, "the text to continue")
    add_model(parser)
    for name, kind in FIELDS.items():
        metavar = "N" if kind is int else "X"
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=HELP[name])
    parser.add_argument("--stop", action="append", metavar="S", help="end before this string; may be repeated")
    parser.add_argument("--ignore-eos", action="store_true", help="go on past the end-of-text token")
    parser.add_argument("--only-new", action="store_true", help="leave the prompt out of the answer")
    parser.add_argument("--chat", action="store_true", help="answer the text as a message; the model needs a template")
    parser.add_argument("--system", metavar="TEXT", help="with --chat, the system message")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print what POST /api/generate answers, with --chat POST /api/v1/chat/completions, and no text before",
    )
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from generation.api.bodies import GenerateBody, parse_json

    values = {name: getattr(options, name) for name in FIELDS if getattr(options, name) is not None}
    values |= {"stop": options.stop, "ignore_eos": options.ignore_eos}
    show = not options.json
    if options.chat:
        asked = chat.parse(options, values)
        answer = _with_service(options.model, lambda service: chat.generate(service, asked, show=show))
        if options.json:
            print(json.dumps(answer, ensure_ascii=False))
        return 0
    if options.system is not None:
        raise InvalidRequestError("--system: only with --chat", param="system")
    values |= {"prompt": read_text(options.text), "return_full_text": not options.only_new}
    body = parse_json(GenerateBody, json.dumps(values).encode())
    whole = _with_service(options.model, lambda service: _generate(service, body, show=show))
    if options.json:
        print(bytes(whole.response().body).decode())
    elif "timeout" in whole.reasons:
        print("stopped at the deadline", file=sys.stderr)
    return 0


def _with_service(model: Path | None, work: "Callable[[Service], Coroutine[Any, Any, Answer]]") -> Answer:
    """Load the model, do the work, and stop."""
    from generation.service import Service

    logging.getLogger("generation").addHandler(logging.NullHandler())  # the caller reports errors
    service = Service(settings(model)).start()
    try:
        service.wait()
        return asyncio.run(work(service))
    finally:
        service.stop()


async def _generate(service: "Service", body: "GenerateBody", *, show: bool) -> "Whole":
    """Generate; with `show`, a single sequence appears as it comes, several one after the other at the end."""
    from generation.api.generate import Whole, engine_request

    loaded = service.loaded()
    asked = await engine_request(body, loaded, service.settings)
    whole = Whole(body, asked)
    live = show and asked.choices == 1
    if live:
        print(whole.texts[0], end="", flush=True)
    async for item in loaded.engine.submit(asked):
        text = whole.add(item)
        if live:
            print(text, end="", flush=True)
    if show:
        print("" if live else "\n---\n".join(whole.texts), flush=True)
    return whole
