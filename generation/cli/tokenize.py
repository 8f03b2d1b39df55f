"""``tokenize``: print the tokens of a text."""

import argparse
import json
from typing import Any

from generation.cli.inputs import add_model, add_text, read_text, settings
from generation.cli.program import HelpFormatter
from generation.errors import InvalidRequestError


def register(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "tokenize",
        help="show the tokens of a text",
        usage="%(prog)s [options] TEXT",
        description="Show the tokens of a text: one line each, with the id and the text, quoted as in JSON.",
        formatter_class=HelpFormatter,
    )
    add_text(parser, "the text to split")
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="print the response body of POST /api/tokenize")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from generation.model.artifact import ArtifactError, load_tokenizer, read_config
    from generation.text.tokenizer import TokenizerError

    folder = settings(options.model).model_dir
    try:
        config = read_config(folder)
        tokenizer = load_tokenizer(folder, config)
        ids = tokenizer.encode(read_text(options.text))
    except (ArtifactError, TokenizerError) as error:
        raise InvalidRequestError(str(error)) from None
    if options.json:
        from generation.api.tokenize import split_text

        content = split_text(ids, [tokenizer.piece(token) for token in ids], config.context)
        print(json.dumps(content, ensure_ascii=False, separators=(",", ":")))
        return 0
    for token in ids:
        data = tokenizer.token_bytes(token)
        print(f"{token:6}  {json.dumps(data.decode(errors='backslashreplace'), ensure_ascii=False)}")
    print(f"{len(ids)} tokens; the context window holds {config.context}")
    return 0
