"""Bodies of ``/v1/completions`` that are refused, each with the field that is wrong and what is allowed."""

from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.support import fake_api
from tests.support.completions import whole
from tests.support.fakes import FakeModel

PROMPT = "Once upon a time"
INVALID = "invalid_value"
PROMPT_FORMS = "must be a string, a list of strings, a list of token ids or a list of such lists, none of them empty"

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": True}, "prompt", PROMPT_FORMS),
    ({"prompt": 5}, "prompt", PROMPT_FORMS),
    ({"prompt": {}}, "prompt", PROMPT_FORMS),
    ({"prompt": []}, "prompt", PROMPT_FORMS),
    ({"prompt": [[]]}, "prompt", PROMPT_FORMS),
    ({"prompt": [[1], []]}, "prompt", PROMPT_FORMS),
    ({"prompt": [[1], "a"]}, "prompt", PROMPT_FORMS),
    ({"prompt": ["a", 1]}, "prompt", PROMPT_FORMS),
    ({"prompt": [True]}, "prompt", PROMPT_FORMS),
    ({"prompt": [None]}, "prompt", PROMPT_FORMS),
    ({"prompt": [1.0]}, "prompt", PROMPT_FORMS),
    ({"prompt": [[[1]]]}, "prompt", PROMPT_FORMS),
    ({"prompt": [5, -1]}, "prompt", "-1 is not a token id from 0 to "),
    ({"prompt": [[1], [1 << 70]]}, "prompt", f"{1 << 70} is not a token id from 0 to "),
    ({"prompt": ["a"] * 2049}, "prompt", "at most 2048 prompts"),
    ({"max_tokens": -1}, "max_tokens", "greater than or equal to 0"),
    ({"max_tokens": 1.5}, "max_tokens", "valid integer"),
    ({"max_tokens": True}, "max_tokens", "valid integer"),
    ({"max_tokens": 0}, "max_tokens", "must be at least 1 without echo"),
    ({"n": 0}, "n", "greater than or equal to 1"),
    ({"n": 129}, "n", "less than or equal to 128"),
    ({"n": 3, "best_of": 2}, "best_of", "must be at least n=3, got 2"),
    ({"best_of": 2, "stream": True}, "best_of", "cannot be more than n in a stream"),
    ({"temperature": 2.1}, "temperature", "less than or equal to 2"),
    ({"temperature": "1"}, "temperature", "valid number"),
    ({"top_p": 0}, "top_p", "greater than 0"),
    ({"top_k": -2}, "top_k", "greater than or equal to -1"),
    ({"min_p": 1.5}, "min_p", "less than or equal to 1"),
    ({"typical_p": 0}, "typical_p", "greater than 0"),
    ({"repetition_penalty": 1e-320}, "repetition_penalty", "greater than or equal to 0.01"),
    ({"frequency_penalty": 2.5}, "frequency_penalty", "less than or equal to 2"),
    ({"presence_penalty": -2.5}, "presence_penalty", "greater than or equal to -2"),
    ({"logit_bias": {"5": 101}}, "logit_bias", "a number from -100 to 100, or false, not 101"),
    ({"logit_bias": {"5": True}}, "logit_bias", "a number from -100 to 100, or false, not True"),
    ({"logit_bias": {"": 1}}, "logit_bias", "a text of 1 to 256 characters"),
    ({"logit_bias": {"x" * 257: 1}}, "logit_bias", "a text of 1 to 256 characters"),
    ({"logit_bias": [["a", 1, 2]]}, "logit_bias", "a list of pairs"),
    ({"logit_bias": [[1.5, 1]]}, "logit_bias", "a list of pairs"),
    ({"logit_bias": [[999999, 1]]}, "logit_bias", "999999 is not a token id"),
    ({"logit_bias": [["a", 1]] * 1025}, "logit_bias", "at most 1024"),
    ({"logit_bias": {"-1": 1}}, "logit_bias", "'-1' is not a token id"),
    ({"logit_bias": {"01": 1}}, "logit_bias", "'01' is not a token id"),
    ({"logit_bias": {"999999": 1}}, "logit_bias", "999999 is not a token id"),
    ({"logit_bias": {"1" * 5000: 1}}, "logit_bias", "is not a token id"),
    ({"logprobs": 21}, "logprobs", "less than or equal to 20"),
    ({"logprobs": -2}, "logprobs", "greater than or equal to -1"),
    ({"prompt_logprobs": 21}, "prompt_logprobs", "less than or equal to 20"),
    ({"stop_token_ids": [257]}, "stop_token_ids", "257 is not a token id from 0 to 256"),
    ({"allowed_token_ids": [300]}, "allowed_token_ids", "300 is not a token id from 0 to 256"),
    ({"allowed_token_ids": []}, "allowed_token_ids", "at least 1 item"),
    ({"logprob_token_ids": [300]}, "logprob_token_ids", "300 is not a token id from 0 to 256"),
    ({"bad_words": [""]}, "bad_words", "at least 1 character"),
    ({"bad_words": ["a"] * 257}, "bad_words", "at most 256 items"),
    ({"bad_words": ["  "]}, "bad_words", "spaces alone"),
    ({"priority": 1}, "priority", "only 0 is allowed"),
    ({"request_id": "a b"}, "request_id", "pattern"),
    ({"truncation_side": "middle"}, "truncation_side", "'left' or 'right'"),
    ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens", "greater than or equal to -1"),
    ({"dry_multiplier": -1}, "dry_multiplier", "greater than or equal to 0"),
    ({"xtc_probability": 2}, "xtc_probability", "less than or equal to 1"),
    ({"logprobs": True}, "logprobs", "valid integer"),
    ({"echo": 1}, "echo", "valid boolean"),
    ({"stop": ""}, "stop", "a string or a list of at most 4 strings, each of 1 to 256 characters"),
    ({"stop": ["a"] * 5}, "stop", "at most 4 strings"),
    ({"stop": ["a", None]}, "stop", "at most 4 strings"),
    ({"stream": "yes"}, "stream", "valid boolean"),
    ({"stream_options": {}}, "stream_options", "only allowed with stream=true"),
    ({"seed": 1 << 63}, "seed", "less than"),
    ({"user": "x" * 513}, "user", "at most 512 characters"),
    ({"suffix": " The end."}, "suffix", "cannot fill in text between"),
    ({"min_tokens": 17}, "min_tokens", "at most max_tokens=16"),
    ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "must be -1 or at least 1"),
    ({"ignore_eos": "no"}, "ignore_eos", "valid boolean"),
    ({"timeout_s": 0}, "timeout_s", "greater than 0"),
    ({"timeout_s": 1e6}, "timeout_s", "at most 200 seconds"),
    ({"return_tokens_as_token_ids": 1}, "return_tokens_as_token_ids", "valid boolean"),
    ({"guided_choice": []}, "guided_choice", "at least 1 item"),
    ({"guided_choice": "yes"}, "guided_choice", "valid array"),
    ({"guided_choice": [""]}, "guided_choice", "at least 1 character"),
    ({"guided_regex": "x" * 2049}, "guided_regex", "at most 2048 characters"),
    ({"guided_choice": ["a"], "guided_regex": "a"}, "guided_choice", "not together with guided_regex"),
    ({"guided_choice": ["a"], "min_tokens": 1}, "min_tokens", "not together with guided_choice"),
    ({"guided_regex": "a", "ignore_eos": True}, "ignore_eos", "not together with guided_regex"),
    ({"use_beam_search": True, "temperature": 0.5}, "temperature", "must be 0 or 1, got 0.5"),
    ({"use_beam_search": True, "n": 2, "best_of": 3}, "best_of", "not together with use_beam_search"),
    ({"use_beam_search": True, "logprobs": 1}, "logprobs", "not together with use_beam_search"),
    ({"use_beam_search": True, "stop": "a"}, "stop", "not together with use_beam_search"),
    ({"use_beam_search": True, "guided_regex": "a"}, "guided_regex", "not together with use_beam_search"),
    ({"length_penalty": 2}, "length_penalty", "only with use_beam_search"),
    ({"model": 5}, "model", "valid string"),
]


@pytest.mark.parametrize(("body", "param", "says"), REFUSED, ids=[str(body)[:60] for body, _, _ in REFUSED])
async def test_a_wrong_value_is_refused_with_its_name(body: dict[str, Any], param: str, says: str) -> None:
    async with fake_api.client(fake_api.service(FakeModel())) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.post("/completions", body={"prompt": "a"} | body, cast_to=object)
    assert (caught.value.status_code, caught.value.code, caught.value.param) == (400, INVALID, param)
    assert caught.value.type == "invalid_request_error"
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("body", "param", "known"),
    [
        ({"max_token": 5}, "max_token", True),
        ({"messages": []}, "messages", True),
        ({"nothing": None}, "nothing", True),
        ({"stream": True, "stream_options": {"chunk": 1}}, "stream_options.chunk", False),
    ],
)
def test_an_unknown_field_is_never_ignored(api: OpenAI, body: dict[str, Any], param: str, known: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        whole(api, prompt=PROMPT, **body)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", param)
    assert param in caught.value.message
    assert ("known are: " in caught.value.message) == known


@pytest.mark.parametrize(
    ("content", "param", "says"),
    [
        (b"", None, "not valid JSON"),
        (b"[1]", None, "must be a JSON object"),
        (b'{"prompt": NaN}', "prompt", PROMPT_FORMS),
        (b'{"temperature": NaN}', "temperature", "finite number"),
        (b'{"temperature": -Infinity}', "temperature", "finite number"),
        (b'{"top_p": 1e999}', "top_p", "finite number"),
        (b'{"logit_bias": {"1": NaN}}', "logit_bias", "a number from -100 to 100"),
        (b'{"seed": 1' + b"0" * 40 + b"}", "seed", "less than"),
        (b'{"seed": 1' + b"0" * 5000 + b"}", None, "not valid JSON"),
        (b'{"prompt": ' + b"[" * 5000 + b"]" * 5000 + b"}", None, "not valid JSON"),
        (b'{"prompt": "\\ud800"}', None, "not valid JSON"),
    ],
)
def test_strange_json_is_refused(client: httpx.Client, content: bytes, param: str | None, says: str) -> None:
    response = client.post("/v1/completions", content=content)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param)
    assert says in error["message"]
