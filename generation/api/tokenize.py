"""Text to token ids and back, over HTTP."""

from starlette.responses import JSONResponse, Response

from generation.api.bodies import DetokenizeBody, TokenizeBody, parse_json
from generation.api.exchange import Exchange
from generation.api.prompts import encode_text
from generation.errors import InvalidRequestError
from generation.service import Service
from generation.text.tokenizer import Tokenizer


async def tokenize(service: Service, exchange: Exchange) -> Response:
    """Answer ``POST /api/tokenize``."""
    body = parse_json(TokenizeBody, await exchange.body(service.settings.max_body_kb * 1024))
    loaded = service.loaded()
    ids = await encode_text(loaded.tokenizer, body.prompt)
    return tokens(ids, loaded.tokenizer, loaded.config.context)


def tokens(ids: list[int], tokenizer: Tokenizer, context: int) -> JSONResponse:
    """Return the answer for a text that has these tokens."""
    pieces = [tokenizer.piece(token) for token in ids]
    return JSONResponse({"tokens": ids, "pieces": pieces, "count": len(ids), "max_context": context})


async def detokenize(service: Service, exchange: Exchange) -> Response:
    """Answer ``POST /api/detokenize``."""
    body = parse_json(DetokenizeBody, await exchange.body(service.settings.max_body_kb * 1024))
    loaded = service.loaded()
    for place, token in enumerate(body.tokens):
        if token >= loaded.config.vocabulary:
            limit = loaded.config.vocabulary - 1
            raise InvalidRequestError(f"tokens.{place}: {token} is not a token id from 0 to {limit}", param="tokens")
    return JSONResponse({"prompt": loaded.tokenizer.decode(body.tokens)})
