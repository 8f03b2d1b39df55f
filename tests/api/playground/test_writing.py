"""One text that the person and the model write alternately."""

import re
from typing import Any

import httpx
import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.server import serve
from tests.api.playground.browser import WAIT_S, Page


def _continued(client: httpx.Client, prompt: str, **fields: Any) -> list[str]:
    """Return what the API adds to a prompt with the page's first settings."""
    asked = {"prompt": prompt, "temperature": 0.8, "top_k": 50, "max_tokens": 60} | fields
    return [one["text"] for one in client.post("/v1/completions", json=asked).json()["choices"]]


def test_the_model_continues_what_the_person_wrote(page: Page, client: httpx.Client) -> None:
    page.open(seed="5", max_tokens="20").write("Grüße 🙂 said")
    page.find("prompt").send_keys(Keys.CONTROL, Keys.ENTER)
    page.until("running === null && doc.length > 1")
    (added,) = _continued(client, "Grüße 🙂 said", seed=5, max_tokens=20)
    assert page.authors() == [["y", "Grüße 🙂 said"], ["m", added]]
    assert page.text == "Grüße 🙂 said" + added
    assert page.said("count") == "20"
    assert page.said("first").endswith(" ms")
    assert int(page.said("speed")) > 0
    assert not page.messages()


def test_they_take_turns(page: Page, client: httpx.Client) -> None:
    page.open(seed="5", max_tokens="8")
    page.generate()
    once = page.text
    page.find("prompt").send_keys(" But the dog")
    page.generate()
    (again,) = _continued(client, once + " But the dog", seed=5, max_tokens=8)
    first = once.removeprefix("Once upon a time")
    assert page.authors() == [["y", "Once upon a time"], ["m", first], ["y", " But the dog"], ["m", again]]


def test_it_writes_at_the_cursor_and_keeps_what_followed(page: Page, client: httpx.Client) -> None:
    page.open(seed="5", max_tokens="6").write("The cat sat. The dog ran.")
    page.cursor(len("The cat"))
    assert page.said("go") == "Generate from cursor"
    page.generate()
    assert page.text == "The cat" + _continued(client, "The cat", seed=5, max_tokens=6)[0]
    assert page.said("go") == "Generate"
    assert page.branches()[0].text.split("\n") == ["you", "The cat sat. The dog ran."]


def test_undo_takes_the_last_continuation_back(page: Page) -> None:
    page.open(max_tokens="5")
    page.generate()
    first = page.text
    page.generate()
    second = page.text
    page.click("undo")
    assert page.text == first
    page.click("undo")
    assert page.text == "Once upon a time"
    assert page.find("undo").get_attribute("aria-disabled") == "true"
    page.branches()[-1].click()
    assert page.text == second


def test_undo_keeps_what_was_typed_since_as_a_branch(page: Page) -> None:
    page.open(max_tokens="5")
    page.generate()
    page.find("prompt").send_keys(" And I said")
    typed = page.text
    page.click("undo")
    assert page.text == "Once upon a time"
    page.branches()[-1].click()
    assert page.text == typed


def test_retry_writes_another_continuation_of_the_same_text(page: Page) -> None:
    page.open(max_tokens="12", temperature="1.5", top_k="0")
    page.generate()
    first = page.text
    page.click("retry")
    page.until(f"running === null && prompt.value !== {first!r}")
    assert page.text.startswith("Once upon a time")
    assert len(page.branches()) == 3


def test_an_edit_keeps_authors_and_drops_the_probabilities_behind_it(page: Page) -> None:
    page.open()
    page.hold()
    page.click("go")
    for token in (" there", " was", " a", " cat"):
        page.send(token)
    page.finish()
    page.cursor(len("Once upon a time there was"))
    page.find("prompt").send_keys("n't")
    assert page.authors() == [["y", "Once upon a time"], ["m", " there was"], ["y", "n't"], ["m", " a cat"]]
    assert page.js("return tokensOf(doc).map(one => one.token[1])") == [" there", " was"]
    # The typed text equals a neighbour: the cursor tells where it went.
    page.find("prompt").send_keys("t")
    assert page.authors()[2] == ["y", "n'tt"]


@pytest.mark.parametrize(
    ("segments", "end", "tokens"),
    [
        ([["a", "b"]], 1, [["a"]]),
        ([["ab", "cd"]], 3, [["ab"], None]),
        ([["a", "", "", "🙂"]], 1, [["a"]]),
        ([["a", "", "", "🙂", "b"]], 3, [["a", "", "", "🙂"]]),
    ],
)
def test_a_cut_leaves_whole_tokens(page: Page, segments: list[list[str]], end: int, tokens: list[Any]) -> None:
    page.open()
    made = "arguments[0].map(t => ({ by: 'm', text: t.join(''), tokens: t.map(x => [x, x, -1, []]) }))"
    cut = page.js(f"return cut({made}, arguments[1]).map(one => one.tokens?.map(t => t[0]) ?? null)", segments, end)
    assert cut == tokens


def test_a_caret_shows_while_it_writes_and_stop_says_so(page: Page) -> None:
    page.open()
    page.hold()
    page.click("go")
    page.send(" there")
    page.until("prompt.value.endsWith(' there')")
    assert page.js("return $('paper').caret.checkVisibility()")
    assert (page.said("go"), page.state) == ("Stop", "Writing …")
    assert page.find("prompt").get_property("readOnly")
    page.click("go")
    page.idle()
    assert page.text == "Once upon a time there"
    assert page.state == "Stopped by you"
    assert "stopped" in page.branches()[-1].text
    assert not page.js("return $('paper').caret.checkVisibility()")
    assert page.said("go") == "Generate"


def test_a_double_click_does_not_stop_what_it_began(page: Page) -> None:
    page.open()
    page.hold()
    page.js("for (const detail of [1, 2]) $('go').dispatchEvent(new MouseEvent('click', { detail, bubbles: true }))")
    page.send(" there")
    page.finish()
    assert page.state.startswith("Done")


def test_a_selection_made_while_it_writes_stays(page: Page) -> None:
    page.open()
    page.hold()
    page.click("go")
    page.send(" there")
    page.js("prompt.setSelectionRange(0, 4)")
    page.send(" was")
    page.until("prompt.value.endsWith(' was')")
    assert page.js("return [prompt.selectionStart, prompt.selectionEnd]") == [0, 4]
    page.finish()
    assert page.js("return [prompt.selectionStart, prompt.selectionEnd]") == [0, 4]


def test_a_model_that_ends_at_once_says_so(page: Page) -> None:
    page.open(temperature="0").write("They lived happily ever after. The end.")
    page.generate()
    assert page.text == "They lived happily ever after. The end."
    assert page.state == "The model ended the text here"


def test_several_sequences_stand_side_by_side(page: Page, client: httpx.Client) -> None:
    page.open(n="3", seed="5", max_tokens="10")
    page.generate()
    texts = _continued(client, "Once upon a time", n=3, seed=5, max_tokens=10)
    assert page.js("return cards.map(one => textOf(one.own()))") == texts
    assert page.js("return new Set(cards.map(one => one.box.getBoundingClientRect().top)).size") < 3
    page.js("cards[1].use.click()")
    assert page.text == "Once upon a time" + texts[1]
    assert page.focus == "go"
    assert not page.js("return $('candidates').childElementCount")
    assert len(page.branches()) == 4


def test_a_sequence_says_why_it_ended(page: Page) -> None:
    page.open(n="3")
    page.hold()
    page.click("go")
    page.send(" there", index=0, reason="length")
    page.send(" was", index=1, reason="stop")
    page.send(" a", index=2)
    page.until("cards[2].text.textContent.includes('a')")
    page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.idle()
    said = page.js("return cards.map(one => one.why.textContent)")
    assert said == ["reached the limit of new tokens", "ended by itself", "stopped by you"]


def _measured(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^generation_{name} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


def test_stop_ends_the_work_on_the_server(page: Page) -> None:
    # The work is over in a second, so the page itself stops it, and the browser keeps a processor.
    with serve(THREADS="1") as slow, httpx.Client(base_url=slow.url, timeout=WAIT_S) as client:
        page.open(url=slow.url, n="16", max_tokens="500")
        page.js(
            "new MutationObserver(() => $('state').textContent === 'Writing …' && running?.abort())"
            ".observe($('state'), { childList: true })"
        )
        page.click("go")
        page.until("$('state').textContent === 'Stopped by you'")
        WebDriverWait(page.browser, WAIT_S, 0.02).until(lambda _: _measured(client, "cancelled_requests_total") == 1)
        WebDriverWait(page.browser, WAIT_S, 0.02).until(lambda _: _measured(client, "running_sequences") == 0)
