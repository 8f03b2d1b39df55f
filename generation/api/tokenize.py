"""Text to token ids and back, over HTTP."""

from typing import Any

from starlette.responses import JSONResponse, Response

from generation.api.bodies import DetokenizeBody, TokenizeBody, parse_json
from generation.api.cost import least_tokens
from generation.api.exchange import Exchange
from generation.api.prompts import check_ids, check_model, encode_text
from generation.api.slices import MANY, Slices, json_response
from generation.errors import TooLargeError
from generation.service import Service


async def tokenize(service: Service, exchange: Exchange) -> Response:
    """Answer ``POST /api/tokenize``."""
    body = parse_json(TokenizeBody, await exchange.body(service.settings.max_body_kb * 1024))
    loaded = service.loaded()
    check_model(body.model, loaded)
    most = service.settings.max_cost // 2  # each token is reported twice, as id and as text
    _check_size(least_tokens([body.prompt], loaded.tokenizer.longest), most)
    ids = await encode_text(loaded.tokenizer, body.prompt, add_special_tokens=body.add_special_tokens)
    _check_size(len(ids), most)
    pieces, entries, slices = list[str](), list[str](), Slices()
    for first in range(0, len(ids), MANY):
        some = ids[first : first + MANY]
        pieces += map(loaded.tokenizer.piece, some)
        entries += map(loaded.tokenizer.entry, some) if body.return_token_strs else ()
        await slices.turn()
    return await json_response(
        split_text(ids, pieces, loaded.config.context, entries if body.return_token_strs else None)
    )


def split_text(ids: list[int], pieces: list[str], context: int, entries: list[str] | None = None) -> dict[str, Any]:
    """Return the answer for a text with these tokens; `entries` are their spellings in the vocabulary."""
    return {
        "tokens": ids,
        "pieces": pieces,
        "token_strs": entries,
        "count": len(ids),
        "max_context": context,
        "max_model_len": context,  # vLLM's name
    }


def _check_size(tokens: int, most: int) -> None:
    if tokens > most:
        message = f"prompt: at least {tokens} tokens, more than the {most} that half of MAX_COST allows"
        raise TooLargeError(message, param="prompt")


async def detokenize(service: Service, exchange: Exchange) -> Response:
    """Answer ``POST /api/detokenize``."""
    body = parse_json(DetokenizeBody, await exchange.body(service.settings.max_body_kb * 1024))
    loaded = service.loaded()
    check_model(body.model, loaded)
    check_ids(loaded.tokenizer, body.tokens, "tokens", "tokens.{}")
    detokenizer, parts, slices = loaded.tokenizer.detokenizer(), list[str](), Slices()
    for first in range(0, len(body.tokens), MANY):
        parts += map(detokenizer.push, body.tokens[first : first + MANY])
        await slices.turn()
    return JSONResponse({"prompt": "".join(parts) + detokenizer.flush()})


async def info(service: Service) -> Response:
    """Answer ``GET /api/tokenizer_info``, which lm-eval's remote tokenizer reads."""
    loaded = service.loaded()
    tokenizer = loaded.tokenizer
    end = tokenizer.entry(tokenizer.ends_of_text[0]) if tokenizer.ends_of_text else None
    begin = None if tokenizer.begin_of_text is None else tokenizer.entry(tokenizer.begin_of_text)
    return JSONResponse(
        {
            "tokenizer_class": "GPT2Tokenizer",
            "bos_token": begin,
            "eos_token": end,
            "pad_token": None,
            "unk_token": end,
            "model_max_length": loaded.config.context,
            "add_prefix_space": False,
            "chat_template": loaded.chat_template,
        }
    )
