"""Checks and conversions between request bodies and the engine, shared by the contracts."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from generation.api.bodies import short
from generation.api.cost import Cost, least_tokens
from generation.config import Settings
from generation.errors import ContextLengthError, InvalidRequestError, ModelNotFoundError, refused
from generation.service import Loaded
from generation.text.tokenizer import Tokenizer, TokenizerError

# Encoding a text of this many characters takes about a millisecond; longer texts must not block the event loop.
LONG_TEXT = 4096
# One at a time: each takes a core from the model, and about 100 bytes per token.
_long_texts = ThreadPoolExecutor(1, "tokenize")


async def encode_text(
    tokenizer: Tokenizer, text: str, *, add_special_tokens: bool = True, param: str = "prompt"
) -> list[int]:
    """Convert the text of the field `param` to token ids, with the special tokens that the tokenizer adds, if any.

    Raises:
        InvalidRequestError: the text cannot be encoded.
    """
    encode = tokenizer.encode if add_special_tokens else partial(tokenizer.encode, add_special_tokens=False)
    try:
        if len(text) < LONG_TEXT:
            return encode(text)
        return await asyncio.get_running_loop().run_in_executor(_long_texts, encode, text)
    except TokenizerError as error:
        raise refused(param, str(error)) from None


async def encode(
    tokenizer: Tokenizer, text: str, *, add_special_tokens: bool = True, param: str = "prompt"
) -> tuple[int, ...]:
    """Convert a prompt to token ids; an empty one becomes the beginning-of-text token.

    Raises:
        InvalidRequestError: the text cannot be encoded, or is empty and the model has no beginning-of-text token.
    """
    ids = tuple(await encode_text(tokenizer, text, add_special_tokens=add_special_tokens, param=param))
    if ids:
        return ids
    if tokenizer.begin_of_text is None:
        raise refused(param, "must not be empty: this model has no beginning-of-text token to start from")
    return (tokenizer.begin_of_text,)


async def encode_one(
    text: str, cost: Cost, loaded: Loaded, settings: Settings, *, add_special_tokens: bool = True, cut: bool = False
) -> tuple[int, ...]:
    """Convert the one prompt of a request to token ids, which it refuses by its length or its cost before that.

    Args:
        text: the prompt.
        cost: of the request; its number of prompt tokens is ignored.
        loaded: the model.
        settings: the bound of the cost.
        add_special_tokens: let the tokenizer add its own.
        cut: the request will use a part of the prompt, so its length is not checked.

    Raises:
        InvalidRequestError: the text cannot be encoded, cannot fit into the context window, or costs too much.
    """
    tokenizer, param = loaded.tokenizer, cost.fields[0]
    if not cut:
        replace(cost, prompt_tokens=least_tokens([text], tokenizer.longest)).check(settings)
        check_length(text, tokenizer.longest, loaded.config.context, param)
    return await encode(tokenizer, text, add_special_tokens=add_special_tokens, param=param)


def room(prompt_tokens: int, new_tokens: int | None, context: int, fields: tuple[str, str]) -> int:
    """Return the number of tokens to generate: `new_tokens`, or as many as the context window allows for None.

    Raises:
        ContextLengthError: the context window has no room for `new_tokens`, or for a single token.
    """
    check_context(prompt_tokens, new_tokens or 1, context, fields[1], fields[0])
    return new_tokens or context - prompt_tokens


def check_ids(tokenizer: Tokenizer, ids: Sequence[int], param: str, where: str) -> None:
    """Refuse ids that are not tokens; `where` is their place in the body.

    Raises:
        InvalidRequestError: names the first such id.
    """
    last = tokenizer.vocabulary - 1
    if ids and 0 <= min(ids) and max(ids) <= last and tokenizer.holes.isdisjoint(ids):
        return
    for place, token in enumerate(ids):
        if not tokenizer.has(token):
            there = where.format(place)
            raise InvalidRequestError(f"{there}: {short(token)} is not a token id from 0 to {last}", param=param)


def check_length(text: str, longest: int | None, context: int, param: str = "prompt") -> None:
    """Refuse a text that cannot fit into the context window even if every token has `longest` characters.

    Raises:
        ContextLengthError: names the lengths.
    """
    if longest is not None and len(text) > context * longest:
        raise ContextLengthError(
            f"the prompt has {len(text)} characters: more than {context * longest} cannot fit into the context window "
            f"of {context} tokens",
            param=param,
        )


def check_model(name: str | None, loaded: Loaded) -> None:
    """Refuse a model that is not served.

    Raises:
        ModelNotFoundError: names the served model.
    """
    if name is not None and name != loaded.config.name:
        raise ModelNotFoundError(
            f"the model {name[:64]!r} is not served here; {loaded.config.name!r} is", param="model"
        )


def check_context(prompt_tokens: int, new_tokens: int, context: int, param: str, prompt: str = "prompt") -> None:
    """Refuse a request that does not fit into the context window; the server never truncates unasked.

    Raises:
        ContextLengthError: names the lengths.
    """
    if prompt_tokens + new_tokens > context:
        raise ContextLengthError(
            f"the prompt has {prompt_tokens} tokens and {param} is {new_tokens}: together {prompt_tokens + new_tokens}"
            f", more than the context window of {context} tokens",
            param=prompt if prompt_tokens >= context else param,
        )


def timeout(asked: float | None, settings: Settings) -> float:
    """Return the seconds that a request may take.

    Raises:
        InvalidRequestError: it is more than the server allows.
    """
    if asked is not None and asked > settings.timeout_s:
        raise refused("timeout_s", f"at most {settings.timeout_s:g} seconds, got {asked:g}")
    return asked or settings.timeout_s
