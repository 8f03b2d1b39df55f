"""Converts fields of OpenAI's contracts to the sampler's parameters: encodes texts and checks token ids."""

import asyncio
from collections import Counter
from functools import lru_cache

from generation.api.openai_body import OpenAIBody
from generation.api.prompts import check_ids
from generation.errors import refused
from generation.sampling.params import Dry, SamplingParams
from generation.text.tokenizer import Tokenizer, TokenizerError


async def sampling_params(body: OpenAIBody, tokenizer: Tokenizer) -> SamplingParams:
    """Return the sampling parameters of a completion.

    Raises:
        InvalidRequestError: a field names a token that the model does not have, or a text that cannot be encoded.
    """
    for name in ("stop_token_ids", "allowed_token_ids", "logprob_token_ids"):
        check_ids(tokenizer, getattr(body, name) or (), name, name)
    check_ids(tokenizer, [key for key, _ in body.logit_bias if isinstance(key, int)], "logit_bias", "logit_bias")
    return SamplingParams(
        temperature=body.temperature,
        top_k=max(body.top_k, 0),
        frequency_penalty=body.frequency_penalty,
        presence_penalty=body.presence_penalty,
        logit_bias=await asyncio.to_thread(_bias, body, tokenizer) if body.logit_bias else {},
        min_tokens=body.min_tokens,
        stop_token_ids=tuple(body.stop_token_ids),
        bad_words=await asyncio.to_thread(_bad_words, body.bad_words, tokenizer) if body.bad_words else (),
        allowed_token_ids=None if body.allowed_token_ids is None else tuple(dict.fromkeys(body.allowed_token_ids)),
        dry=await asyncio.to_thread(_dry, body, tokenizer) if body.dry_multiplier and body.dry_penalty_last_n else None,
        xtc_probability=body.xtc_probability,
        xtc_threshold=body.xtc_threshold,
        **body.sampling(),
    )


def _encode(param: str, text: str, tokenizer: Tokenizer) -> list[int]:
    try:
        return tokenizer.encode(text)
    except TokenizerError as error:
        raise refused(param, str(error)) from None


def _bias(body: OpenAIBody, tokenizer: Tokenizer) -> dict[int, float]:
    """Return the bias of each token; a text biases each of its tokens, and biases of one token add up."""
    biases: Counter[int] = Counter()
    for key, value in body.logit_bias:
        for token in (key,) if isinstance(key, int) else set(_encode("logit_bias", key, tokenizer)):
            biases[token] += value  # type: ignore[assignment]
    return dict(biases)


def _bad_words(words: list[str], tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
    """Return the tokens of each word as it is and after a space.

    vLLM (``SamplingParams.update_from_tokenizer``) omits the form after a space if it has a different number of
    tokens. Byte-level tokenizers often have " word" as one token and "word" as two, so both count here.
    """
    found = []
    for word in words:
        plain = tuple(_encode("bad_words", word.lstrip(), tokenizer))
        spaced = tuple(_encode("bad_words", " " + word.lstrip(), tokenizer))
        if not plain:
            raise refused("bad_words", "a word cannot be made of spaces alone")
        found += [plain, spaced]
    return tuple(found)


def _dry(body: OpenAIBody, tokenizer: Tokenizer) -> Dry:
    window = {} if body.dry_penalty_last_n < 0 else {"window": body.dry_penalty_last_n}
    return Dry(
        multiplier=body.dry_multiplier,
        base=body.dry_base,
        allowed_length=body.dry_allowed_length,
        breakers=_breakers(tokenizer, tuple(body.dry_sequence_breakers)),
        **window,
    )


@lru_cache(maxsize=8)
def _breakers(tokenizer: Tokenizer, texts: tuple[str, ...]) -> frozenset[int]:
    """Return the tokens whose text holds one of `texts`, and the last token of each text of several tokens."""
    wanted = [text.encode() for text in texts]
    holding = {
        token for token in range(tokenizer.vocabulary) if any(text in tokenizer.token_bytes(token) for text in wanted)
    }
    last = {_encode("dry_sequence_breakers", text, tokenizer)[-1] for text in texts}
    return frozenset(holding | last)
