"""Chat templates: rendering, and the limits for bad templates and long chats."""

import sys
from typing import Any

import pytest

from generation.text import chat_template
from generation.text.chat_template import ChatTemplate, TemplateError
from tests.support.templates import CHATML, DIALOGPT, HELLO, TALK


def _render(source: str, messages: Any = HELLO, **tokens: Any) -> str:
    return ChatTemplate(source, {"eos_token": "</s>"} | tokens).render(messages)


def test_turns_are_joined_as_the_template_says() -> None:
    assert _render(DIALOGPT, TALK) == "Hello</s>Grüße, 世界 🙂</s> Why? <b>\n</s>"


def test_the_answer_is_begun_unless_it_is_not_wanted() -> None:
    template = ChatTemplate(CHATML, {})
    begun, not_begun = (template.render(HELLO, add_generation_prompt=one) for one in (True, False))
    assert (
        begun == not_begun + "<|im_start|>assistant\n" == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ messages | tojson }}", '[{"role": "user", "content": "<é>"}]'),
        ("{{ messages[0] | tojson(indent=1) }}", '{\n "role": "user",\n "content": "<é>"\n}'),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "<é>"),
        ("  {% if true %}\n  x\n  {% endif %}\n", "  x\n"),
        ("{% for one in 'abc' %}{% if one == 'b' %}{% break %}{% endif %}{{ one }}{% endfor %}", "a"),
        ("{{ strftime_now('%%') }}", "%"),
        ("{{ tools is none and documents is none }}", "True"),
    ],
)
def test_it_renders_as_transformers_does(source: str, text: str) -> None:
    from transformers.utils.chat_template_utils import _compile_jinja_template

    messages = [{"role": "user", "content": "<é>"}]
    theirs = _compile_jinja_template(source).render(messages=messages, tools=None, documents=None)
    assert _render(source, messages) == theirs == text


@pytest.mark.parametrize("source", ["{% for %}", "{{", "{% nothing %}", "{{ 1 | nothing }}"])
def test_what_is_no_template_is_refused(source: str) -> None:
    with pytest.raises(TemplateError, match="cannot be read"):
        ChatTemplate(source, {})


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ raise_exception('roles must alternate') }}", "^roles must alternate$"),
        ("{{ messages[5].content + 'a' }}", "has no element 5"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ messages[0].update(role='system') }}", "unsafe"),
        ("{{ ''.__class__.__mro__ }}", "unsafe|undefined"),
        ("{{ 10 ** 10 ** 10 }}", "large numbers"),
        ("{{ 'a' * 10000000 }}", "large numbers"),
        ("{% include 'file' %}", "no loader"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    ],
)
def test_what_a_template_must_not_do_is_refused(source: str, says: str) -> None:
    with pytest.raises(TemplateError, match=says):
        _render(source)


def test_a_prompt_has_no_more_than_so_many_characters() -> None:
    with pytest.raises(TemplateError, match="more than 1048576 characters"):
        _render("{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}")


def test_a_loop_that_renders_nothing_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "MOST_S", 0.05)
    with pytest.raises(TemplateError, match=r"more than 0\.05 s"):
        _render("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}")


def test_the_bound_on_time_leaves_the_thread_as_it_was() -> None:
    before = sys.gettrace()
    _render(DIALOGPT)
    with pytest.raises(TemplateError):
        _render("{{ 1 / 0 }}")
    assert sys.gettrace() is before
