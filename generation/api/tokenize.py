"""Text to token ids and back, over HTTP."""

from typing import Any

from starlette.responses import JSONResponse, Response

from generation.api.bodies import DetokenizeBody, TokenizeBody, parse_json
from generation.api.cost import least_tokens
from generation.api.exchange import Exchange
from generation.api.prompts import check_ids, encode_text
from generation.api.slices import MANY, Slices, json_response
from generation.errors import TooLargeError
from generation.service import Service


async def tokenize(service: Service, exchange: Exchange) -> Response:
    """Answer ``POST /api/tokenize``."""
    body = parse_json(TokenizeBody, await exchange.body(service.settings.max_body_kb * 1024))
    loaded = service.loaded()
    most = service.settings.max_cost // 2  # each token is reported twice, by its id and by its text
    _check_size(least_tokens([body.prompt], loaded.tokenizer.longest), most)
    ids = await encode_text(loaded.tokenizer, body.prompt)
    _check_size(len(ids), most)
    pieces, slices = list[str](), Slices()
    for first in range(0, len(ids), MANY):
        pieces += map(loaded.tokenizer.piece, ids[first : first + MANY])
        await slices.turn()
    return await json_response(split_text(ids, pieces, loaded.config.context))


def split_text(ids: list[int], pieces: list[str], context: int) -> dict[str, Any]:
    """Return the answer for a text that has these tokens."""
    return {"tokens": ids, "pieces": pieces, "count": len(ids), "max_context": context}


def _check_size(tokens: int, most: int) -> None:
    if tokens > most:
        message = f"prompt: at least {tokens} tokens, more than the {most} that half of MAX_COST allows"
        raise TooLargeError(message, param="prompt")


async def detokenize(service: Service, exchange: Exchange) -> Response:
    """Answer ``POST /api/detokenize``."""
    body = parse_json(DetokenizeBody, await exchange.body(service.settings.max_body_kb * 1024))
    loaded = service.loaded()
    check_ids(loaded.tokenizer, body.tokens, "tokens", "tokens.{}")
    detokenizer, parts, slices = loaded.tokenizer.detokenizer(), list[str](), Slices()
    for first in range(0, len(body.tokens), MANY):
        parts += map(detokenizer.push, body.tokens[first : first + MANY])
        await slices.turn()
    return JSONResponse({"prompt": "".join(parts) + detokenizer.flush()})
