"""Text to token ids and back, over HTTP."""

from starlette.responses import JSONResponse, Response

from generation.api.bodies import DetokenizeBody, TokenizeBody, parse_json
from generation.api.exchange import Exchange
from generation.api.prompts import check_model, encode_text
from generation.errors import InvalidRequestError
from generation.service import Service
from generation.text.tokenizer import Tokenizer


async def tokenize(service: Service, exchange: Exchange) -> Response:
    """Answer ``POST /api/tokenize``."""
    body = parse_json(TokenizeBody, await exchange.body(service.settings.max_body_kb * 1024))
    loaded = service.loaded()
    check_model(body.model, loaded)
    ids = await encode_text(loaded.tokenizer, body.prompt, add_special_tokens=body.add_special_tokens)
    return tokens(ids, loaded.tokenizer, loaded.config.context, entries=body.return_token_strs)


def tokens(ids: list[int], tokenizer: Tokenizer, context: int, *, entries: bool = False) -> JSONResponse:
    """Return the answer for a text that has these tokens; `entries` adds how they stand in the vocabulary."""
    return JSONResponse(
        {
            "tokens": ids,
            "pieces": [tokenizer.piece(token) for token in ids],
            "token_strs": [tokenizer.entry(token) for token in ids] if entries else None,
            "count": len(ids),
            "max_context": context,
            "max_model_len": context,  # the name that vLLM's clients read
        }
    )


async def detokenize(service: Service, exchange: Exchange) -> Response:
    """Answer ``POST /api/detokenize``."""
    body = parse_json(DetokenizeBody, await exchange.body(service.settings.max_body_kb * 1024))
    loaded = service.loaded()
    check_model(body.model, loaded)
    for place, token in enumerate(body.tokens):
        if token >= loaded.config.vocabulary:
            limit = loaded.config.vocabulary - 1
            raise InvalidRequestError(f"tokens.{place}: {token} is not a token id from 0 to {limit}", param="tokens")
    return JSONResponse({"prompt": loaded.tokenizer.decode(body.tokens)})


async def info(service: Service) -> Response:
    """Answer ``GET /api/tokenizer_info``, which lm-eval's remote tokenizer reads.

    As in GPT-2's own configuration, the end-of-text token also begins a text. There is no chat template.
    """
    loaded = service.loaded()
    end = loaded.tokenizer.entry(loaded.tokenizer.end_of_text)
    return JSONResponse(
        {
            "tokenizer_class": "GPT2Tokenizer",
            "bos_token": end,
            "eos_token": end,
            "pad_token": None,
            "unk_token": end,
            "model_max_length": loaded.config.context,
            "add_prefix_space": False,
            "chat_template": None,
        }
    )
