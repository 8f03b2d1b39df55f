"""Errors in words, at their fields."""

import pytest

from benchmarks.server import serve
from tests.api.playground.browser import Page


def test_what_the_server_refused_is_shown_at_its_field(page: Page) -> None:
    page.open(max_tokens="100000")
    page.generate()
    assert page.state == "Failed"
    for name in ("error", "max_tokens-error"):
        assert "context window" in page.said(name)
    assert page.find("max_tokens").get_attribute("aria-invalid") == "true"
    assert "max_tokens-error" in str(page.find("max_tokens").get_attribute("aria-describedby"))
    page.set(max_tokens="5")
    page.generate()
    assert not page.said("error")
    assert not page.said("max_tokens-error")
    assert page.find("max_tokens").get_attribute("aria-invalid") is None


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"temperature": "3"}, "temperature"),
        ({"n": "100"}, "n"),
        ({"format": "guided_regex", "pattern": "("}, "pattern"),
        ({"stop": "1\n2\n3\n4\n5"}, "stop"),
    ],
)
def test_each_field_shows_its_own(page: Page, values: dict[str, str], field: str) -> None:
    page.open().set(**values)
    page.generate()
    assert page.said(f"{field}-error") == page.said("error") != ""


def test_a_field_in_a_closed_fold_opens_it(page: Page) -> None:
    page.open((390, 844), max_tokens="100000")
    assert not page.find("max_tokens").is_displayed()
    page.generate()
    assert page.find("max_tokens-error").is_displayed()


def test_a_wrong_key_is_told_apart_from_none(page: Page) -> None:
    with serve("--key", "secret-key") as keyed:
        page.open(url=keyed.url)
        page.generate()
        assert page.said("error") == "This server asks for a key, under Settings."
        assert page.said("key-error") == page.said("error")
        page.until("place.failed")
        assert page.said("looked-note") == page.said("error")
        page.set(key="another")
        page.generate()
        assert page.said("error") == "The server does not accept this key."
        page.set(key="secret-key", max_tokens="2")
        page.js("$('key').dispatchEvent(new Event('change'))")
        page.settled()
        page.generate()
        assert page.state.startswith("Done")
        page.set(key="schlüssel 🗝")
        page.generate()
        assert page.said("key-error") == "This key has characters that no key can have."


def test_a_server_that_does_not_answer(page: Page) -> None:
    page.open()
    page.js("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    page.generate()
    assert page.said("error") == "The server does not answer. Your text is kept."
    assert page.text == "Once upon a time"
    assert page.state == "Failed"


def test_a_server_that_comes_back_is_found_again(page: Page) -> None:
    page.open(
        before="""
            const real = window.fetch;
            let tries = 0;
            window.fetch = (...all) => tries++ ? real(...all) : Promise.reject(new TypeError('Failed to fetch'));
            window.waits = [];
            window.setTimeout = (run, ms) => { waits.push(ms); queueMicrotask(run); };
        """
    )
    assert "tinystories-demo" in page.said("model")
    assert 3000 in page.js("return waits")


@pytest.mark.parametrize("ending", ["end", "fail"])
def test_a_connection_that_breaks_off_keeps_what_came(page: Page, ending: str) -> None:
    page.open()
    page.hold()
    page.click("go")
    page.send(" there")
    page.js(f"{ending}()")
    page.idle()
    assert page.said("error") == "The connection broke off. What came is kept."
    assert page.text == "Once upon a time there"
    assert len(page.branches()) == 2


def test_an_error_in_mid_stream_is_shown_in_the_servers_words(page: Page) -> None:
    page.open()
    page.hold()
    page.click("go")
    page.send(" there")
    page.js("send(JSON.stringify({ error: { message: 'generation failed', param: null } }))")
    page.idle()
    assert page.said("error") == "generation failed"
    assert page.text == "Once upon a time there"


def test_a_busy_server_says_when_to_try_again(page: Page) -> None:
    page.open()
    page.js(
        "const error = { message: 'the queue is full', param: null };"
        "const answer = { status: 429, headers: { 'retry-after': '7' } };"
        "window.fetch = async () => new Response(JSON.stringify({ error }), answer)"
    )
    page.generate()
    assert page.said("error") == "the queue is full; try again in 7 s"


def test_an_answer_that_is_no_json_is_an_error_in_words(page: Page) -> None:
    page.open()
    page.js("window.fetch = async () => new Response('<html>Bad gateway</html>', { status: 502 })")
    page.generate()
    assert page.said("error") == "The server answered with status 502."


def test_an_error_goes_when_the_text_changes(page: Page) -> None:
    page.open(max_tokens="100000")
    page.generate()
    page.find("prompt").send_keys("x")
    assert not page.find("error").is_displayed()
