"""Text to token ids and back, over HTTP."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from generation.api.bodies import DetokenizeBody, TokenizeBody, parse_json
from generation.api.http import read_body
from generation.api.prompts import check_ids, encode_text
from generation.service import Service
from generation.text.tokenizer import Tokenizer


async def tokenize(service: Service, request: Request) -> Response:
    """Answer ``POST /api/tokenize``."""
    body = parse_json(TokenizeBody, await read_body(request, service.settings.max_body_kb * 1024))
    loaded = service.loaded()
    ids = await encode_text(loaded.tokenizer, body.prompt)
    return tokens(ids, loaded.tokenizer, loaded.config.context)


def tokens(ids: list[int], tokenizer: Tokenizer, context: int) -> JSONResponse:
    """Return the answer for a text that has these tokens."""
    pieces = [tokenizer.piece(token) for token in ids]
    return JSONResponse({"tokens": ids, "pieces": pieces, "count": len(ids), "max_context": context})


async def detokenize(service: Service, request: Request) -> Response:
    """Answer ``POST /api/detokenize``."""
    body = parse_json(DetokenizeBody, await read_body(request, service.settings.max_body_kb * 1024))
    loaded = service.loaded()
    check_ids(loaded.tokenizer, body.tokens, "tokens", "tokens.{}")
    return JSONResponse({"prompt": loaded.tokenizer.decode(body.tokens)})
