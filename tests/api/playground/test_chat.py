"""The chat page, and the playground's link to it for a model with a chat template."""

from collections.abc import Iterator

import pytest
from selenium import webdriver

from benchmarks.server import Served, serve
from tests.api.playground.browser import Page, findings, loaded

TEMPLATE = "{% for one in messages %}{{ one.role }}: {{ one.content }}{{ eos_token }}{% endfor %}"


@pytest.fixture(scope="module")
def chatting() -> Iterator[Served]:
    with serve(CHAT_TEMPLATE=TEMPLATE) as running:
        yield running


@pytest.fixture
def chat(browser: webdriver.Chrome, chatting: Served) -> Page:
    return _open(browser, chatting.url)


def _open(browser: webdriver.Chrome, url: str) -> Page:
    page = Page(browser, url)
    loaded[browser] = None
    browser.get(f"{url}/playground/chat")
    page.until("model !== null")
    page.messages()
    return page


def _say(page: Page, text: str) -> list[list[str]]:
    page.set(message=text, max_completion_tokens="5", temperature="0")
    page.click("send")
    page.until("running === null && messages.length && messages.at(-1).role === 'assistant'")
    found: list[list[str]] = page.js("return messages.map(one => [one.role, one.content])")
    return found


def test_turns_are_taken_and_all_of_them_are_sent(chat: Page) -> None:
    chat.js(
        "window.sent = []; const real = fetch;"
        "fetch = (url, options) => { sent.push(JSON.parse(options.body)); return real(url, options) }"
    )
    (asked, answered) = _say(chat, "Hello")
    assert asked == ["user", "Hello"]
    assert answered[1]
    assert len(_say(chat, "And then?")) == 4
    shown = chat.js("return [...document.querySelectorAll('article span')].map(one => one.textContent)")
    assert shown == chat.js("return messages.map(one => one.content)")
    assert [one["content"] for one in chat.js("return sent.at(-1).messages")] == ["Hello", answered[1], "And then?"]
    assert chat.messages() == []


def test_an_answer_may_be_replaced_and_a_chat_begun_anew(chat: Page) -> None:
    first = _say(chat, "Hello")
    chat.click("again")
    chat.until("running === null && messages.length === 2")
    assert chat.js("return messages.map(one => [one.role, one.content])") == first
    chat.click("fresh")
    assert chat.js("return [messages.length, $('messages').children.length]") == [0, 0]


def test_the_system_message_goes_first(chat: Page) -> None:
    chat.set(system="Be brief.")
    chat.js("messages = [{ role: 'user', content: 'a' }]")
    assert chat.js("return body().messages.map(one => one.role)") == ["system", "user"]


def test_an_error_is_shown_and_the_message_is_kept(chat: Page) -> None:
    chat.set(message="Hello", max_completion_tokens="100000")
    chat.click("send")
    chat.until("running === null && !$('error').hidden")
    assert "max_completion_tokens" in chat.js("return $('error').textContent")
    assert chat.js("return messages.length") == 1


def test_what_is_written_is_text_and_never_markup(chat: Page) -> None:
    _say(chat, "<b id='bold'>bold</b>")
    assert chat.js("return $('bold')") is None


def test_without_a_template_it_says_so(browser: webdriver.Chrome, served: Served) -> None:
    page = _open(browser, served.url)
    assert "no chat template" in page.js("return $('model').textContent")
    assert page.js("return $('send').disabled")


def test_the_playground_links_to_it_where_there_is_a_template(page: Page, chatting: Served) -> None:
    page.open()
    assert page.js("return $('chat').hidden")
    page.open(url=chatting.url)
    assert page.js("return [$('chat').hidden, $('chat').href]") == [False, f"{chatting.url}/playground/chat"]


def test_it_is_accessible(chat: Page, axe: str) -> None:
    _say(chat, "Hello")
    assert findings(chat, axe) == []
