"""axe-core without findings in every state, enough contrast, and everything by keyboard."""

import pytest
from selenium.webdriver.common.keys import Keys

from tests.api.playground.browser import DESKTOP, PHONE, Page, findings


@pytest.mark.parametrize(
    ("size", "dark"),
    [
        pytest.param(DESKTOP, False, id="desktop-light"),
        pytest.param(PHONE, True, id="phone-dark"),
        pytest.param(DESKTOP, True, id="desktop-dark", marks=pytest.mark.heavy),
        pytest.param(PHONE, False, id="phone-light", marks=pytest.mark.heavy),
    ],
)
def test_axe_finds_nothing_in_any_state(page: Page, axe: str, size: tuple[int, int], dark: bool) -> None:
    page.open(size, dark=dark, max_tokens="12", seed="5")
    page.js("for (const one of document.querySelectorAll('details')) one.open = true")
    found = {"idle": findings(page, axe)}
    page.generate()
    page.js("$('heat').click()")
    found["done, with confidence"] = findings(page, axe)
    page.set(top_k="2")
    page.cursor(len("Once upon a time, t"))
    page.js("if (phone.matches) openSheet(prompt)")
    page.until("$('rows').children.length")
    found["a token shown"] = findings(page, axe)
    page.js("closeSheet()")
    page.set(n="2")
    page.generate()
    found["side by side"] = findings(page, axe)
    page.set(format="guided_regex", pattern="(")
    page.generate()
    found["error"] = findings(page, axe)
    page.set(format="", n="1")
    page.hold()
    page.click("go")
    page.send(" there")
    page.until("prompt.value.endsWith(' there')")
    found["streaming"] = findings(page, axe)
    page.finish()
    assert {state: findings for state, findings in found.items() if findings} == {}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_contrast_at_every_heat(page: Page, dark: bool) -> None:
    page.open(dark=dark)
    ratios = page.js("""
        const style = getComputedStyle(document.documentElement);
        const color = name => style.getPropertyValue(`--${name}`).trim();
        const pixel = value => {
          const canvas = document.createElement('canvas').getContext('2d');
          canvas.fillStyle = value;
          canvas.fillRect(0, 0, 1, 1);
          return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
        };
        // Relative luminance and contrast as WCAG 2 defines them.
        const light = value => {
          const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
          const [red, green, blue] = pixel(value).map(part => linear(part / 255));
          return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        };
        return Object.fromEntries(['card', 'model', 'h2', 'h3', 'h4', 'h5', 'pick'].map(name => {
          const [a, b] = [light(color('ink')), light(color(name))].sort((x, y) => y - x);
          return [name, (a + 0.05) / (b + 0.05)];
        }));
    """)
    assert len(ratios) == 7
    assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}


def test_heat_is_off_at_first_and_has_a_legend(page: Page) -> None:
    page.open()
    page.hold()
    page.click("go")
    for logprob in (-0.01, -0.3, -0.8, -1.5, -4):
        page.send(" word", logprob)
    page.finish()
    painted = """
        const names = ['model', 'h2', 'h3', 'h4', 'h5'];
        return Object.fromEntries(names.map(name => [name, CSS.highlights.get(name).size]));
    """
    assert page.js(painted) == {"model": 1, "h2": 0, "h3": 0, "h4": 0, "h5": 0}
    assert not page.find("scale").is_displayed()
    page.click("heat")
    assert page.js(painted) == {"model": 0, "h2": 1, "h3": 1, "h4": 1, "h5": 1}
    assert page.find("scale").text.split() == ["sure", "unsure"]
    assert page.find("heat").get_attribute("aria-pressed") == "true"


def test_no_mark_begins_with_white_space(page: Page) -> None:
    """A painted space at a line's end would stand out as a sliver."""
    page.open(max_tokens="40")
    page.generate()
    page.click("heat")
    texts = page.js("""
        return [...CSS.highlights.values()].flatMap(all => [...all])
          .map(one => one.startContainer.data.slice(one.startOffset, one.endOffset));
    """)
    assert len(texts) > 5
    assert [one for one in texts if one != one.lstrip()] == []


def test_there_is_one_primary_button(page: Page) -> None:
    page.open()
    assert page.js("return document.querySelectorAll('.primary').length") == 1


def test_motion_is_only_where_it_is_allowed(page: Page) -> None:
    page.open()
    page.hold()
    page.click("go")
    page.send(" there")
    page.until("prompt.value.endsWith(' there')")
    moving = "return [getComputedStyle($('paper').caret).animationName, document.getAnimations().length > 0]"
    assert page.js(moving) == ["blink", True]
    page.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    assert page.js(moving) == ["none", False]
    page.finish()


def test_the_whole_page_is_reached_by_tab(page: Page) -> None:
    page.open()
    page.settled()
    page.js("for (const one of document.querySelectorAll('details')) one.open = true; document.body.focus()")
    wanted = set(
        page.js(
            "return [...document.querySelectorAll('button:not(.option), input, textarea, select, summary, pre')]"
            ".filter(one => one.checkVisibility()).map((one, i) => one.id ||= `made-${i}`)"
        )
    )
    page.js("document.activeElement.blur(); getSelection().removeAllRanges()")
    seen: set[str] = set()
    for _ in range(len(wanted) + 12):
        page.browser.switch_to.active_element.send_keys(Keys.TAB)
        seen.add(page.focus)
    assert wanted - seen == set()
    assert "option" in seen


def test_the_focus_is_never_lost(page: Page) -> None:
    page.open(max_tokens="3")
    page.settled()
    lost = "return document.activeElement === document.body"
    for press in ("go", "undo", "retry", "heat", "before", "before", "after", "after", "after", "copy"):
        page.find(press).send_keys(Keys.ENTER)
        page.idle()
        assert not page.js(lost), press
    page.settled()
    page.js("document.querySelectorAll('#rows button')[1].focus(); drawRows()")
    assert page.js("return document.activeElement === document.querySelectorAll('#rows button')[1]")
    page.rows()[1].send_keys(Keys.ENTER)
    page.settled()
    assert not page.js(lost)
    page.branches()[0].send_keys(Keys.ENTER)
    assert not page.js(lost)
    page.settled()
    page.find("more").send_keys(Keys.ENTER)
    page.until("place.known.length > 6 && allowed($('more'))")
    assert page.focus == "more"


def test_states_are_announced(page: Page) -> None:
    page.open()
    for name, role in (("state", "status"), ("model", "status"), ("error", "alert")):
        assert page.find(name).get_attribute("role") == role
    page.hold()
    page.click("go")
    assert page.state == "Waiting …"
    page.send(" there")
    page.until("$('state').textContent === 'Writing …'")
    page.finish()
    assert page.state.startswith("Done")


def test_nothing_is_logged_as_an_error(page: Page) -> None:
    page.open(n="2", max_tokens="5")
    page.generate()
    page.js("cards[0].use.click(); $('heat').click(); $('export').click(); keep()")
    page.settled()
    assert page.messages() == []
