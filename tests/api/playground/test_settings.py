"""What the fields send: only what the server offers, and what it asks for."""

import json
from typing import Any

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from tests.api.playground.browser import Page

# The server's contract, changed before the page sees it.
CONTRACT = """
const real = window.fetch;
window.fetch = async (url, options) => {
  if (!url.endsWith('/openapi.json')) return real(url, options);
  const contract = await (await real(url, options)).json();
  const fields = contract.components.schemas.CompletionBody.properties;
  %s
  return new Response(JSON.stringify(contract));
};
"""


def _asked(page: Page) -> dict[str, Any]:
    result: dict[str, Any] = page.js("return body('')")
    return result


def test_what_equals_the_servers_default_is_left_out(page: Page) -> None:
    page.open(temperature="1", top_k="0", max_tokens="16")
    assert _asked(page) == {"model": "tinystories-demo", "prompt": "", "stream": True}
    page.set(temperature="0.5", min_p="0.1", presence_penalty="-1", seed="7", n="2")
    assert _asked(page) == {
        "model": "tinystories-demo",
        "prompt": "",
        "stream": True,
        "temperature": 0.5,
        "min_p": 0.1,
        "presence_penalty": -1,
        "seed": 7,
        "n": 2,
    }


def test_slider_and_number_agree(page: Page) -> None:
    page.open(temperature="1.5")
    slider = page.find("temperature").find_element("xpath", "following-sibling::input")
    assert slider.get_property("value") == "1.5"
    slider.send_keys(Keys.ARROW_LEFT)
    assert page.find("temperature").get_property("value") == "1.45"


def test_the_answer_is_one_of_the_choices(page: Page) -> None:
    page.open(format="guided_choice", pattern=" woof\n moo\n").write("The cat said meow. The dog said")
    page.generate()
    assert page.authors()[1][1] in {" woof", " moo"}


def test_the_answer_matches_the_expression(page: Page) -> None:
    page.open(format="guided_regex", pattern=" [2-9] (red|blue) balls\\.").write("Tom bought")
    page.generate()
    assert page.js("return /^ [2-9] (red|blue) balls\\.$/.test(doc[1].text)")


def test_a_json_schema_is_asked_for_only_where_the_server_takes_one(page: Page) -> None:
    page.open(before=CONTRACT % "delete fields.guided_json;")
    offered = "return [...$('format').options].map(one => one.value)"
    assert page.js(offered) == ["", "guided_choice", "guided_regex"]
    assert "JSON" not in page.said("examples")
    page.open(before=CONTRACT % "fields.guided_json = { type: 'object' };")
    assert page.js(offered) == ["", "guided_choice", "guided_regex", "guided_json"]
    page.set(format="guided_json", pattern='{"type": "integer"}')
    assert _asked(page)["guided_json"] == {"type": "integer"}
    page.set(pattern="{")
    page.click("go")
    assert page.said("pattern-error").startswith("The schema is not valid JSON: ")


def test_what_the_server_does_not_offer_is_not_shown(page: Page) -> None:
    page.open(
        before=CONTRACT
        % "for (const one of ['min_p', 'guided_choice', 'guided_regex', 'guided_json']) delete fields[one];"
    )
    assert not page.find("min_p").is_displayed()
    assert not page.find("format").is_displayed()
    assert page.find("top_p").is_displayed()
    page.set(min_p="0.5")
    assert "min_p" not in _asked(page)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("The end\n\\n", ["The end", "\n"]),
        (r"\t\\n\u00e9\u{1f642}", ["\t\\né🙂"]),
    ],
)
def test_stop_strings_have_escapes(page: Page, written: str, sent: list[str]) -> None:
    page.open(stop=written)
    assert _asked(page)["stop"] == sent


@pytest.mark.parametrize("written", ["\\x", "\\", "\\u{110000}"])
def test_a_wrong_escape_is_refused_at_its_field(page: Page, written: str) -> None:
    page.open(stop=written)
    page.click("go")
    assert written in page.said("stop-error")
    assert page.find("stop").get_attribute("aria-invalid") == "true"
    page.set(stop="\\n")
    assert not page.said("stop-error")
    assert page.find("stop").get_attribute("aria-invalid") is None


def test_a_seed_that_javascript_would_round_is_refused(page: Page) -> None:
    page.open(seed="9007199254740993")
    page.click("go")
    assert "9007199254740991" in page.said("seed-error")


def test_an_example_brings_its_settings_and_keeps_the_text_before(page: Page, client: httpx.Client) -> None:
    page.open(top_p="0.5").write("My own text")
    page.js("[...$('examples').children].find(one => one.textContent === 'Choice').click()")
    asked = _asked(page)
    assert asked["guided_choice"] == [" woof", " moo", " quack"]
    assert "top_p" not in asked
    page.generate()
    assert page.authors()[1][1] in asked["guided_choice"]
    assert json.dumps([one.text for one in page.branches()]).count("My own text") == 1
