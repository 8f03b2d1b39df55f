"""What is kept, passed on and copied: never the key."""

import json
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.server import serve
from tests.api.playground.browser import WAIT_S, Page

STORED = "return JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie + location.href"


def test_a_reload_returns_to_the_session(page: Page) -> None:
    page.open(max_tokens="6", temperature="1.25")
    page.generate()
    text, authors = page.text, page.authors()
    page.reload()
    assert len(page.js("return location.hash")) > 1
    assert len(page.branches()) == 2
    page.open(keep=True)
    assert page.text == text
    assert page.authors() == authors
    assert page.find("temperature").get_property("value") == "1.25"
    assert len(page.branches()) == 2
    assert page.branches()[1].get_attribute("aria-current") == "true"
    page.cursor(len("Once upon a time"))
    assert len(page.rows()) >= 5
    page.click("undo")
    assert page.text == "Once upon a time"


def test_a_link_carries_text_authors_and_settings(page: Page) -> None:
    page.open(max_tokens="6", stop="\\n", seed="3").write("Grüße 🙂 said")
    page.generate()
    authors = page.authors()
    page.js("keep()")
    link = page.js("return location.hash.slice(1)")
    page.open(fragment=link)
    assert page.authors() == authors
    assert page.js("return [$('stop').value, $('seed').value, $('max_tokens').value]") == ["\\n", "3", "6"]


def test_a_link_joins_the_session_of_this_browser_as_a_branch(page: Page) -> None:
    page.open().write("From a friend")
    page.js("keep()")
    link = page.js("return location.hash.slice(1)")
    page.open(max_tokens="4").write("My own text")
    page.generate()
    mine = page.text
    page.open(fragment=link, keep=True)
    assert page.text == "From a friend"
    page.branches()[-1].click()
    assert page.text == mine


def test_an_address_that_is_no_link_says_so(page: Page) -> None:
    page.open(fragment="%%%")
    assert "address" in page.said("error")


def test_a_full_storage_keeps_the_text(page: Page) -> None:
    page.open()
    kept = page.js("""
        const set = Storage.prototype.setItem;
        Storage.prototype.setItem = function (name, value) {
          if (value.length > 400) throw new DOMException('full');
          set.call(this, name, value);
        };
        const tokens = ['abc', 'abc'].map(one => [one, one, -1, Array(30).fill(['other', -2])]);
        show([{ by: 'm', text: 'abcabc', tokens }]);
        commit(); keep(); Storage.prototype.setItem = set;
        return JSON.parse(localStorage.getItem(STORE)).segments;
    """)
    assert kept == [{"by": "m", "text": "abcabc"}]


def test_a_session_goes_out_and_comes_in_as_json(page: Page, tmp_path: Any) -> None:
    page.open(max_tokens="6", top_p="0.9")
    page.generate()
    page.click("undo")
    page.generate()
    text, branches = page.text, [one.text for one in page.branches()]
    page.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), eventsEnabled=True)
    page.js("$('share-fold').open = true; $('export').click()")
    file = tmp_path / "playground-session.json"
    WebDriverWait(page.browser, WAIT_S, 0.02).until(lambda _: file.exists() and file.stat().st_size)
    data = json.loads(file.read_text(encoding="utf-8"))
    assert data["model"] == "tinystories-demo"
    assert data["settings"]["top_p"] == "0.9"
    page.open()
    page.js("$('file').hidden = false")
    page.find("file").send_keys(str(file))
    page.until("$('state').textContent === 'Imported'")
    assert page.text == text
    assert [one.text for one in page.branches()] == branches
    assert page.find("top_p").get_property("value") == "0.9"


@pytest.mark.parametrize("content", ["no json", "{}", '{"version": 1, "segments": [{"by": "x"}]}', "null"])
def test_a_file_that_is_no_session_changes_nothing(page: Page, tmp_path: Any, content: str) -> None:
    (tmp_path / "other.json").write_text(content)
    page.open().write("Mine")
    page.js("$('file').hidden = false")
    page.find("file").send_keys(str(tmp_path / "other.json"))
    page.until("$('error').textContent")
    assert page.said("error") == "other.json is no session of this page."
    assert page.text == "Mine"


def test_tokens_that_do_not_add_up_are_dropped(page: Page) -> None:
    page.open()
    one = {"by": "m", "text": "ab", "tokens": [["a", "a", -1, []]]}
    assert page.js("return checked(arguments[0])", one) == {"by": "m", "text": "ab"}


def test_text_is_copied_on_plain_http(page: Page) -> None:
    port = urlsplit(page.url).port
    page.open(url=f"http://plain.test:{port}/api").write("Copy me")
    assert page.js("return navigator.clipboard === undefined")
    page.js("document.addEventListener('copy', () => { window.copied = String(document.activeElement.value); })")
    page.click("copy")
    page.until("$('copy').textContent === 'Copied'")
    assert page.js("return window.copied") == "Copy me"
    assert page.focus == "copy"


def test_the_key_is_sent_both_ways_and_neither_shown_nor_kept(page: Page) -> None:
    with serve("--key", "secret-key") as keyed:
        page.open(url=keyed.url, max_tokens="3", key="secret-key")
        page.js(
            "const real = window.fetch; window.sent = [];"
            "window.fetch = (url, o) => { if (o?.headers) sent.push(o.headers); return real(url, o); }"
        )
        page.generate()
        assert page.state.startswith("Done")
        page.settled()
        for headers in page.js("return sent"):
            assert headers["x-functions-key"] == "secret-key"
            assert headers["authorization"] == "Bearer secret-key"
        page.js("keep()")
        assert "secret-key" not in page.js(STORED)
        assert "secret-key" not in page.js("return document.body.textContent + JSON.stringify(session())")
        for language in ("curl", "python", "javascript"):
            page.js("$(arguments[0]).click()", language)
            assert "FUNCTION_KEY" in page.said("code")


def _run(page: Page, language: str, code: str) -> str:
    if language == "javascript":  # the browser's own, in place of Node's
        console = "const said = [], console = { log: (...all) => said.push(all.join(' ')) };"
        script = f"{console}\n(async () => {{ {code}\n }})()"
        result: str = page.browser.execute_async_script(
            f"const done = arguments[0];\n{script}.then(() => done(said.join('\\n')), error => done(String(error)));"
        )
        return result
    command = ["bash", "-c", code + " -s"] if language == "curl" else [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.parametrize("language", ["curl", "python", "javascript"])
def test_the_code_makes_the_same_request(page: Page, client: httpx.Client, language: str) -> None:
    page.open(n="2", seed="4", max_tokens="6", stop='"\\n', min_p="0.01").write('It\'s "odd": $HOME \\ é')
    page.js("$(arguments[0]).click()", language)
    code = page.said("code")
    page.generate()
    texts = page.js("return cards.map(one => textOf(one.own()))")
    said = _run(page, language, code)
    if language == "curl":
        assert said.endswith("data: [DONE]\n\n")
        parts = [json.loads(line[6:])["choices"][0] for line in said.split("\n") if line.startswith("data: {")]
        assert ["".join(one["text"] for one in parts if one["index"] == i) for i in range(2)] == texts
    else:
        assert all(text in said for text in texts)
        assert "error" not in said.lower()


def test_pythons_words_stand_for_jsons(page: Page) -> None:
    page.open()
    value = {"a": [True, None, 1.5], "b": {"c": "true"}}
    assert page.js("return literal(arguments[0])", value) == '{"a": [True, None, 1.5], "b": {"c": "true"}}'
