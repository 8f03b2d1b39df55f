"""Convert the shared fields of OpenAI's completions and chat completions to a request to the engine."""

from generation.api.completions_sampling import sampling_params
from generation.api.openai_body import OpenAIBody
from generation.api.prompts import timeout
from generation.config import Settings
from generation.engine.request import GenerationRequest
from generation.sampling.grammar import make_guide
from generation.service import Loaded


async def engine_request(body: OpenAIBody, max_tokens: int, loaded: Loaded, settings: Settings) -> GenerationRequest:
    """Return the request to the engine, without a prompt.

    Raises:
        InvalidRequestError: a field names a token that the model does not have, or a constraint cannot be used.
    """
    ranked = body.choices > body.n
    reported = alternatives(body.reported, loaded.tokenizer.vocabulary)
    return GenerationRequest(
        prompt=(),
        max_tokens=max_tokens,
        choices=body.choices,
        sampling=await sampling_params(body, loaded.tokenizer),
        stop=body.stop,
        include_stop=body.include_stop_str_in_output,
        special_tokens=not body.skip_special_tokens,
        logprobs=0 if ranked and reported is None else reported,
        logprob_ids=tuple(dict.fromkeys(body.logprob_token_ids or ())),
        cache_salt=body.cache_salt,
        timeout_s=timeout(body.timeout_s, settings),
        guide=await make_guide(loaded.tokenizer, body.constraint()),
    )


def reported_with_each(body: OpenAIBody, vocabulary: int) -> int | None:
    """Return the number of alternatives to report with each token, including those requested by id."""
    reported = alternatives(body.reported, vocabulary)
    return None if reported is None else reported + len(body.logprob_token_ids or ())


def alternatives(asked: int | None, vocabulary: int) -> int | None:
    """Return the number of alternatives, with -1 replaced by the size of the vocabulary."""
    return vocabulary if asked is not None and asked < 0 else asked
