"""Answer one chat message in this process: ``generate --chat``."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from generation.cli.inputs import read_text
from generation.cli.program import live_line

if TYPE_CHECKING:
    from generation.api.chat_body import ChatBody
    from generation.config import Settings
    from generation.service import Loaded

# Options whose fields have other names in chat completions.
NAMES = {"max_new_tokens": "max_completion_tokens", "num_return_sequences": "n"}


def parse(options: argparse.Namespace, given: dict[str, Any]) -> "ChatBody":
    """Return the body of the chat; `given` has the options that are fields of ``POST /api/generate``, by name.

    Raises:
        InvalidRequestError: an option has a value that is not allowed.
    """
    from generation.api.bodies import parse_json
    from generation.api.chat_body import ChatBody

    system = [] if options.system is None else [{"role": "system", "content": options.system}]
    values = {NAMES.get(name, name): value for name, value in given.items()}
    values["messages"] = [*system, {"role": "user", "content": read_text(options.text)}]
    # The defaults that the options' help states.
    return parse_json(ChatBody, json.dumps({"max_completion_tokens": 50, "top_k": 50} | values).encode()).check()


async def generate(loaded: "Loaded", settings: "Settings", body: "ChatBody", *, show: bool) -> dict[str, Any]:
    """Return the response of ``POST /api/v1/chat/completions``; with `show`, print it, streaming a single answer."""
    from generation.api.chat import chat_request
    from generation.api.chat_prompt import fingerprint, render
    from generation.api.chat_response import ChatResponse
    from generation.engine.request import Update

    text = await render([one.for_template() for one in body.messages], loaded)
    asked = await chat_request(body, text, loaded, settings)
    response, items = ChatResponse(body, loaded, asked.prompt, fingerprint(loaded)), []
    live = show and asked.choices == 1
    stream = loaded.engine.submit(asked)
    response.timelines = stream.timelines
    with live_line(shown=live):
        async for item in stream:
            items.append(item)
            if live and isinstance(item, Update):
                print(item.text, end="", flush=True)
    whole = await response.whole(items)
    if show:
        print("" if live else "\n---\n".join(one["message"]["content"] for one in whole["choices"]), flush=True)
    if show and any(isinstance(item, Update) and item.finish_reason == "timeout" for item in items):
        print("stopped at the deadline", file=sys.stderr)
    return whole
