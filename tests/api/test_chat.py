"""OpenAI's chat completions through the unmodified client, on a fake model."""

import json
import subprocess
import sys
from typing import Any

import openai
import pytest

from generation.api import chat
from generation.api.chat_body import ChatBody
from generation.api.handler import answer
from generation.config import ROOT
from tests.support import fake_api
from tests.support.fakes import END, FakeModel
from tests.support.http import body_message, make_request
from tests.support.templates import CHATML, DIALOGPT, HELLO, TALK

GREEDY: dict[str, Any] = {"temperature": 0, "max_completion_tokens": 8}
KNOWN = {"logprobs", "top_logprobs", "n", "stop", "seed", "temperature", "max_tokens", "max_completion_tokens",
         "response_format", "logit_bias", "stream_options", "user", "metadata", "store", "tools"}  # fmt: skip


async def _ask(template: str | None = DIALOGPT, messages: Any = HELLO, *, stream: bool = False, **body: Any) -> Any:
    body = GREEDY | body
    known = {name: value for name, value in body.items() if name in KNOWN}
    extra = {name: value for name, value in body.items() if name not in KNOWN}
    async with fake_api.client(fake_api.service(FakeModel(), template)) as client:
        asked: Any = {"model": "fake", "messages": messages, "extra_body": extra} | known
        if not stream:
            return await client.chat.completions.create(**asked)
        return [event async for event in await client.chat.completions.create(**asked, stream=True)]


async def _completion(prompt: str, **body: Any) -> Any:
    async with fake_api.client(fake_api.service(FakeModel())) as client:
        return await client.completions.create(model="fake", prompt=prompt, temperature=0, max_tokens=8, **body)


async def test_the_answer_continues_the_rendered_prompt() -> None:
    response = await _ask(messages=TALK)
    (choice,) = response.choices
    # The fake tokenizer encodes the end-of-text token of each turn as plain bytes.
    prompt = "".join(one["content"] + "<|endoftext|>" for one in TALK)
    plain = await _completion(prompt)
    assert (choice.message.role, choice.message.content) == ("assistant", plain.choices[0].text)
    assert choice.finish_reason == "length"
    assert response.id.startswith("chatcmpl-")
    assert (response.object, response.model) == ("chat.completion", "fake")
    assert response.usage.prompt_tokens == len(prompt.encode())
    assert response.usage.completion_tokens == 8


async def test_the_template_may_begin_the_answer() -> None:
    begun, not_begun = [await _ask(CHATML, add_generation_prompt=one) for one in (True, False)]
    assert begun.usage.prompt_tokens - not_begun.usage.prompt_tokens == len("<|im_start|>assistant\n")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"n": 3, "temperature": 1, "seed": 1},
        {"logprobs": True, "top_logprobs": 2},
        {"logprobs": True, "n": 2, "temperature": 1, "seed": 2},
        {"stop": ["e"]},
    ],
    ids=str,
)
async def test_a_stream_adds_up_to_the_whole_answer(body: dict[str, Any]) -> None:
    whole, events = await _ask(**body), await _ask(stream=True, **body)
    texts = dict.fromkeys(range(body.get("n", 1)), "")
    reports: dict[int, list[Any]] = {index: [] for index in texts}
    roles, reasons = [], {}
    for event in events:
        assert (event.object, event.id) == ("chat.completion.chunk", events[0].id)
        (part,) = event.choices
        assert part.index not in reasons
        texts[part.index] += part.delta.content
        reports[part.index] += part.logprobs.content if part.logprobs else []
        roles += [part.delta.role] if part.delta.role else []
        if part.finish_reason:
            reasons[part.index] = part.finish_reason
    assert roles == ["assistant"] * len(texts)
    assert list(texts.values()) == [one.message.content for one in whole.choices]
    assert [reasons[index] for index in texts] == [one.finish_reason for one in whole.choices]
    if "logprobs" in body:
        assert list(reports.values()) == [one.logprobs.content for one in whole.choices]


async def test_logprobs_are_those_of_completions_in_the_form_of_chats() -> None:
    (choice,) = (await _ask(logprobs=True, top_logprobs=2)).choices
    plain = (await _completion("Hello<|endoftext|>", logprobs=2)).choices[0].logprobs
    assert [one.token for one in choice.logprobs.content] == plain.tokens
    assert [one.logprob for one in choice.logprobs.content] == plain.token_logprobs
    for one, top in zip(choice.logprobs.content, plain.top_logprobs, strict=True):
        assert {other.token: other.logprob for other in one.top_logprobs} == top
        assert bytes(one.bytes).decode() == one.token


async def test_without_logprobs_there_are_none() -> None:
    assert (await _ask()).choices[0].logprobs is None


async def test_a_special_token_has_the_bytes_of_its_name() -> None:
    (choice,) = (await _ask(logprobs=True, logit_bias={str(END): 100})).choices
    assert (choice.message.content, choice.finish_reason) == ("", "stop")
    (token,) = choice.logprobs.content
    assert (token.token, bytes(token.bytes)) == ("<|endoftext|>", b"<|endoftext|>")


async def test_the_usage_comes_in_an_event_of_its_own() -> None:
    *events, last = await _ask(stream=True, stream_options={"include_usage": True})
    assert all(event.usage is None for event in events)
    assert (last.choices, last.usage.completion_tokens) == ([], 8)


async def test_the_default_fills_the_context() -> None:
    response = await _ask(
        max_completion_tokens=None, ignore_eos=True, messages=[{"role": "user", "content": "a" * 4000}]
    )
    assert response.usage.total_tokens == 4096


async def test_the_older_name_of_the_maximum_works() -> None:
    assert (await _ask(max_completion_tokens=None, max_tokens=3)).usage.completion_tokens == 3


async def test_token_ids_are_those_of_prompt_and_choice() -> None:
    choice = (await _ask(return_token_ids=True)).choices[0].model_dump()
    assert bytes(choice["prompt_token_ids"]).decode() == "Hello<|endoftext|>"
    assert bytes(choice["token_ids"]).decode(errors="replace") == choice["message"]["content"]


async def test_a_message_may_have_parts_a_name_and_what_an_answer_has() -> None:
    source = "{% for one in messages %}[{{ one.role }}|{{ one.name }}|{{ one.content }}]{% endfor %}"
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [
        {"role": "developer", "content": parts, "name": "N"},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": None, "audio": None, "annotations": []},
    ]
    response = await _ask(source, messages)
    assert response.usage.prompt_tokens == len("[system|N|a\nb][assistant||]")


async def test_the_fingerprint_depends_on_the_template() -> None:
    first, again, other = [(await _ask(source)).system_fingerprint for source in (DIALOGPT, DIALOGPT, CHATML)]
    assert first == again != other


@pytest.mark.parametrize(
    "body",
    [
        {"user": "u", "metadata": {"a": "b"}, "store": False, "tools": []},
        {"parallel_tool_calls": False, "tool_choice": "none", "modalities": ["text"]},
        {"service_tier": "auto", "safety_identifier": "s", "prompt_cache_key": "k"},
    ],
    ids=str,
)
async def test_fields_that_are_accepted_change_nothing(body: dict[str, Any]) -> None:
    assert (await _ask(**body)).choices == (await _ask()).choices


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.content.type"),
        ({"messages": [{"role": "user", "content": "a", "colour": 1}]}, "messages.colour"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": []}, "functions"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprob_token_ids": [1]}, "logprob_token_ids"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"max_completion_tokens": 5000}, "max_completion_tokens"),
        ({"max_completion_tokens": 5, "min_tokens": 6}, "min_tokens"),
        ({"messages": [{"role": "user", "content": "a" * 5000}]}, "messages"),
        ({"stream_options": {}}, "stream_options"),
        ({"n": 129}, "n"),
        ({"n": 64}, "n"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"prompt": "a"}, "prompt"),
    ],
    ids=str,
)
async def test_a_wrong_value_is_refused_with_its_name(body: dict[str, Any], param: str) -> None:
    messages = body.pop("messages", HELLO)
    with pytest.raises(openai.BadRequestError) as caught:
        await _ask(messages=messages, **{"max_completion_tokens": None} | body)
    assert caught.value.param == param


async def test_what_the_template_refuses_is_the_clients_fault() -> None:
    with pytest.raises(openai.BadRequestError, match="roles must alternate") as caught:
        await _ask("{{ raise_exception('roles must alternate') }}")
    assert caught.value.param == "messages"


async def test_a_template_that_cannot_be_read_is_the_operators_fault() -> None:
    with pytest.raises(openai.InternalServerError, match="cannot be read") as caught:
        await _ask("{% for %}")
    assert caught.value.code == "chat_template_failed"


async def test_without_a_template_the_route_to_call_is_named_whatever_the_body() -> None:
    served = fake_api.service(FakeModel())
    for body in (json.dumps({"messages": HELLO}).encode(), b"{"):
        response = await answer("chat", make_request(body_message(body)), lambda one: chat.post(served, one))
        assert response.status_code == 400
        assert "/api/v1/completions" in json.loads(bytes(response.body))["error"]["message"]
    served.stop()


async def test_null_is_the_default_of_every_optional_field() -> None:
    nulls = dict.fromkeys(ChatBody.model_fields.keys() - {"messages", "model"})
    assert ChatBody.model_validate(nulls | {"messages": HELLO}) == ChatBody.model_validate({"messages": HELLO})


def test_jinja_is_not_imported_before_the_first_chat() -> None:
    code = (
        "import sys, function_app; function_app.service.wait(); function_app.contracts.completions.prepare();"
        "print('jinja2' in sys.modules, any(name.startswith(('generation.api.chat', 'generation.api.hf_body')) "
        "for name in sys.modules)); function_app.service.stop()"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "False"]
