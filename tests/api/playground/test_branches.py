"""Alternatives are followed, and every branch is kept."""

import httpx
from selenium.webdriver.common.keys import Keys

from tests.api.playground.browser import Page


def test_an_alternative_is_followed_from_the_keyboard(page: Page, client: httpx.Client) -> None:
    page.open(seed="5", max_tokens="8")
    page.generate()
    first = page.text
    page.find("prompt").send_keys(Keys.CONTROL, Keys.HOME)
    page.find("prompt").send_keys(*[Keys.ARROW_RIGHT] * len("Once upon a time, t"))
    page.until("$('looked').textContent === 'Token 2: “␣there”'")
    other = page.js("return place.known[1][0]")
    page.rows()[1].send_keys(Keys.ENTER)
    page.idle()
    asked = {"prompt": "Once upon a time," + other, "seed": 5, "max_tokens": 8, "temperature": 0.8, "top_k": 50}
    added = client.post("/v1/completions", json=asked).json()["choices"][0]["text"]
    assert page.text == asked["prompt"] + added
    assert page.focus == "go"
    labels = [one.text for one in page.branches()]
    assert len(labels) == 3
    assert f"via {other.replace(' ', '␣')}" in labels[2]
    page.branches()[1].click()
    assert page.text == first
    assert page.branches()[1].get_attribute("aria-current") == "true"


def test_undo_takes_a_followed_alternative_back_as_well(page: Page) -> None:
    page.open(max_tokens="4")
    page.settled()
    page.choose(2)
    page.idle()
    page.click("undo")
    assert page.text == "Once upon a time"


def test_retry_keeps_the_alternative(page: Page) -> None:
    page.open(max_tokens="4")
    page.settled()
    other = page.js("return place.known[2][0]")
    page.choose(2)
    page.idle()
    page.click("retry")
    page.idle()
    assert page.text.startswith("Once upon a time" + other)


def test_an_alternative_of_a_sequence_is_followed(page: Page) -> None:
    page.open(n="2", seed="5", max_tokens="6")
    page.generate()
    before = page.js("cards[1].text.focus(); return cards[1].own()[0].tokens[0][0]")
    page.browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.said("looked").startswith("Token 2: ")
    other = page.js("return place.known[1][0]")
    page.choose(1)
    page.idle()
    assert page.text.startswith("Once upon a time" + before + other)
    assert not page.js("return cards.length")


def test_the_end_of_the_text_can_be_chosen(page: Page) -> None:
    page.open().write("They lived happily ever after. The end. And")
    page.cursor(len("They lived happily ever after. The end."))
    page.until("place.known?.[0][0] === '<|endoftext|>'")
    assert str(page.rows()[0].get_attribute("aria-label")).startswith("End the text here")
    page.choose(0)
    assert page.text == "They lived happily ever after. The end."
    assert page.state == "The text ends here"


def test_a_part_of_a_character_cannot_be_followed(page: Page) -> None:
    page.open()
    page.settled()
    page.js("place.known = [['bytes:\\\\xf0\\\\x9f', -0.1], ['a', -3]]; drawRows()")
    assert [one.get_attribute("aria-disabled") for one in page.rows()] == ["true", "false"]
    assert str(page.rows()[0].get_attribute("aria-label")).startswith("A part of a character")
    page.choose(0)
    assert page.text == "Once upon a time"


def test_the_arrows_reach_tokens_without_a_text_of_their_own(page: Page) -> None:
    page.open()
    page.js(
        "show([{ by: 'm', text: 'a🙂', tokens: [['a', 'a', -1, [['a', -1]]], ['', 'bytes:\\\\xf0', -1, [['x', -1]]],"
        "['🙂', 'bytes:\\\\x9f', -1, [['y', -1]]]] }]); changed('')"
    )
    seen = []
    for _ in range(3):
        page.click("before")
        seen.append(page.said("looked"))
    assert seen == ["Token 3: “9f”", "Token 2: “f0”", "Token 1: “a”"]


def test_only_so_many_branches_are_kept_and_never_the_current_one(page: Page) -> None:
    page.open()
    assert page.js("""
        for (let i = 0; i < MOST_NODES + 5; i++) {
          current = null;
          show([{ by: 'y', text: `text ${i} end` }]);
          commit();
        }
        return [nodes.length === MOST_NODES, nodes.includes(current), textOf(nodes[0].doc)];
    """) == [True, True, "text 5 end"]


def test_the_tree_steps_aside_only_where_it_forks(page: Page) -> None:
    page.open(max_tokens="3", temperature="2", top_k="0")
    page.generate()
    page.generate()
    page.click("undo")
    page.generate()
    depths = page.js(
        "return [...document.querySelectorAll('#branches li')].map(o => o.style.getPropertyValue('--depth'))"
    )
    assert depths == ["0", "0", "1", "1"]
