"""From what a body asks for to what the engine takes; shared by the contracts."""

import asyncio
from functools import partial

from generation.config import Settings
from generation.errors import ContextLengthError, InvalidRequestError, ModelNotFoundError
from generation.service import Loaded
from generation.text.tokenizer import Tokenizer, TokenizerError

# Encoding a text of this many characters takes a millisecond or so; longer ones must not hold up the event loop.
LONG_TEXT = 4096


async def encode_text(tokenizer: Tokenizer, text: str, *, add_special_tokens: bool = True) -> list[int]:
    """Turn text into token ids, with the special tokens that the tokenizer adds to each text, if it does.

    Raises:
        InvalidRequestError: the text cannot be encoded.
    """
    encode = tokenizer.encode if add_special_tokens else partial(tokenizer.encode, add_special_tokens=False)
    try:
        return encode(text) if len(text) < LONG_TEXT else await asyncio.to_thread(encode, text)
    except TokenizerError as error:
        raise InvalidRequestError(f"prompt: {error}", param="prompt") from None


async def encode(tokenizer: Tokenizer, text: str, *, add_special_tokens: bool = True) -> tuple[int, ...]:
    """Turn a prompt into token ids; an empty one becomes the end-of-text token, with which every document begins.

    Raises:
        InvalidRequestError: the text cannot be encoded.
    """
    ids = await encode_text(tokenizer, text, add_special_tokens=add_special_tokens)
    return tuple(ids) or (tokenizer.end_of_text,)


def check_model(name: str | None, loaded: Loaded) -> None:
    """Refuse a model that is not served.

    Raises:
        ModelNotFoundError: with the name of the one that is.
    """
    if name is not None and name != loaded.config.name:
        raise ModelNotFoundError(
            f"the model {name[:64]!r} is not served here; {loaded.config.name!r} is", param="model"
        )


def check_context(prompt_tokens: int, new_tokens: int, context: int, param: str) -> None:
    """Refuse what does not fit into the context window; nothing is ever cut off.

    Raises:
        ContextLengthError: with the numbers.
    """
    if prompt_tokens + new_tokens > context:
        raise ContextLengthError(
            f"the prompt has {prompt_tokens} tokens and {param} is {new_tokens}: together {prompt_tokens + new_tokens}"
            f", more than the context window of {context} tokens",
            param="prompt" if prompt_tokens >= context else param,
        )


def timeout(asked: float | None, settings: Settings) -> float:
    """Return the seconds that a request may take.

    Raises:
        InvalidRequestError: more than the server allows was asked for.
    """
    if asked is not None and asked > settings.timeout_s:
        raise InvalidRequestError(
            f"timeout_s: at most {settings.timeout_s:g} seconds, got {asked:g}", param="timeout_s"
        )
    return asked or settings.timeout_s
