"""Render the messages of a chat as a prompt with the model's or the operator's template."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any

from generation.errors import ChatTemplateError, InvalidRequestError, refused
from generation.service import Loaded
from generation.text.chat_template import ChatTemplate, TemplateError
from generation.text.tokenizer import Tokenizer

NOT_A_CHAT_MODEL = "this is not a chat model: call /api/v1/completions with a prompt instead, or set CHAT_TEMPLATE"
# One thread, because rendering holds the global interpreter lock.
_rendering = ThreadPoolExecutor(1, "chat")


def source(loaded: Loaded) -> str:
    """Return the text of the chat template.

    Raises:
        InvalidRequestError: the model has no chat template.
    """
    if loaded.chat_template is None:
        raise InvalidRequestError(NOT_A_CHAT_MODEL, param="messages")
    return loaded.chat_template


async def render(messages: Sequence[Mapping[str, str]], loaded: Loaded, *, add_generation_prompt: bool = True) -> str:
    """Return the prompt of a chat.

    Raises:
        InvalidRequestError: the model has no chat template, or the template refuses the messages.
        ChatTemplateError: the template is invalid.
    """
    given = source(loaded)
    work = partial(_render, given, messages, loaded, add_generation_prompt=add_generation_prompt)
    return await asyncio.get_running_loop().run_in_executor(_rendering, work)


def fingerprint(loaded: Loaded) -> str:
    """Return the fingerprint of completions, extended by a hash of the chat template."""
    return f"{loaded.fingerprint}_{sha256(source(loaded).encode()).hexdigest()[:10]}"


def _render(given: str, messages: Sequence[Mapping[str, str]], loaded: Loaded, *, add_generation_prompt: bool) -> str:
    try:
        template = _compile(given, _frozen(_special_tokens(loaded)))
    except TemplateError as error:
        raise ChatTemplateError(f"the chat template cannot be used: {error}") from None
    try:
        return template.render(messages, add_generation_prompt=add_generation_prompt)
    except TemplateError as error:
        raise refused("messages", f"the chat template refuses them: {error}") from None


def _special_tokens(loaded: Loaded) -> dict[str, Any]:
    """Return the special tokens by name; an artifact of an older exporter has only ``bos_token`` and ``eos_token``."""
    return loaded.config.special_tokens or _begin_and_end(loaded.tokenizer)


def _begin_and_end(tokenizer: Tokenizer) -> dict[str, Any]:
    begin, ends = tokenizer.begin_of_text, tokenizer.ends_of_text
    found = {} if begin is None else {"bos_token": tokenizer.piece(begin)}
    return found | ({"eos_token": tokenizer.piece(ends[0])} if ends else {})


def _frozen(tokens: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in tokens.items())


@lru_cache(maxsize=4)
def _compile(given: str, tokens: tuple[tuple[str, Any], ...]) -> ChatTemplate:
    return ChatTemplate(given, {name: list(value) if isinstance(value, tuple) else value for name, value in tokens})
