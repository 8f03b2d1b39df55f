"""Phone, tablet, desktop and wide screens: what is in view, and that nothing jumps or sticks out."""

import pytest

from tests.api.playground.browser import DESKTOP, EVERY_SIZE, PHONE, WIDE, Page

IN_VIEW = "const { top, bottom } = arguments[0].getBoundingClientRect(); return top >= 0 && bottom <= innerHeight;"
LONG = "Donaudampfschifffahrtsgesellschaft" * 8 + " 日本語🙂 " + "x" * 400


def _in_view(page: Page, element: str) -> bool:
    return bool(page.js(f"const one = {element}; return (one => {{ {IN_VIEW.replace('arguments[0]', 'one')} }})(one)"))


def test_a_stream_is_in_view_on_a_phone_and_stop_in_reach(page: Page) -> None:
    page.open(PHONE).write("Once upon a time. " * 60)
    page.js("scrollTo(0, 0)")
    page.hold()
    page.click("go")
    page.send(" there")
    page.until("prompt.value.endsWith(' there')")
    for _ in range(12):
        page.send(" was a very long story of many words")
    page.until("prompt.value.endsWith('words')")
    page.until("!$('paper').caret.hidden")
    assert _in_view(page, "$('paper').caret")
    assert page.js("return $('paper').caret.getBoundingClientRect().bottom <= $('actions').getBoundingClientRect().top")
    assert _in_view(page, "$('go')")
    assert page.said("go") == "Stop"
    page.finish()


def test_a_reader_who_scrolls_away_is_left_there(page: Page) -> None:
    page.open(PHONE).write("Once upon a time. " * 60)
    page.hold()
    page.click("go")
    page.send(" there")
    page.until("following")
    page.js("dispatchEvent(new WheelEvent('wheel')); scrollTo(0, 0)")
    page.send(" was")
    page.until("prompt.value.endsWith(' was')")
    assert page.js("return scrollY") == 0
    page.finish()


def test_details_come_as_a_sheet_from_below_on_a_phone(page: Page) -> None:
    page.open(PHONE, max_tokens="20", seed="5")
    page.generate()
    assert not page.find("inspector").is_displayed()
    assert not page.find("max_tokens").is_displayed()
    page.tap(3)
    page.until("document.body.classList.contains('sheet') && $('rows').children.length")
    assert page.said("looked").startswith("Token 4: ")
    assert page.focus == "looked"
    assert page.js("return $('inspector').getBoundingClientRect().bottom === innerHeight")
    assert page.js("return $('mark').getBoundingClientRect().bottom < $('inspector').getBoundingClientRect().top")
    page.tap(5)
    page.until("$('looked').textContent.startsWith('Token 6: ')")
    page.click("close")
    assert not page.find("inspector").is_displayed()
    assert page.focus == "go"
    assert page.said("go") == "Generate"


def test_a_word_of_the_person_is_edited_by_a_tap_and_one_of_the_model_from_the_sheet(page: Page) -> None:
    page.open(PHONE, max_tokens="20", seed="5")
    page.generate()
    page.tap(3)
    page.until("document.body.classList.contains('sheet')")
    start = page.js("return place.start")
    page.click("edit")
    assert page.focus == "prompt"
    assert page.js("return spot") == start
    assert not page.find("inspector").is_displayed()


def test_the_next_token_and_its_alternatives_are_in_the_sheet(page: Page) -> None:
    page.open(PHONE, max_tokens="4")
    page.click("peek")
    page.until("$('rows').children.length")
    assert page.find("peek").get_attribute("aria-expanded") == "true"
    page.choose(1)
    page.idle()
    assert page.find("peek").get_attribute("aria-expanded") == "false"
    assert page.focus == "go"


def test_a_sequence_opens_the_sheet_by_keyboard_and_gets_the_focus_back(page: Page) -> None:
    page.open(PHONE, n="2", max_tokens="5")
    page.generate()
    page.js("cards[0].text.focus()")
    page.browser.switch_to.active_element.send_keys("\ue014\ue007")
    page.until("document.body.classList.contains('sheet')")
    page.browser.switch_to.active_element.send_keys("\ue00c")
    assert page.focus == "text"


@pytest.mark.parametrize("size", [(320, 640), *EVERY_SIZE])
def test_nothing_sticks_out(page: Page, size: tuple[int, int]) -> None:
    page.open(size, n="8", max_tokens="12", temperature="2", top_k="0").write(LONG)
    page.generate()
    page.set(max_tokens="100000")
    page.generate()
    page.js("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.js("return document.documentElement.scrollWidth") <= size[0]
    sticking = page.js("""
        return [...document.querySelectorAll('main *')]
          .filter(one => one.checkVisibility() && !one.closest('#examples, .option code'))
          .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
          .map(one => one.outerHTML.slice(0, 80));
    """)
    assert sticking == []


@pytest.mark.parametrize("size", [DESKTOP, WIDE])
def test_the_form_stays_in_view_on_a_large_screen(page: Page, size: tuple[int, int]) -> None:
    page.open(size).write("Once upon a time there was a cat.\n" * 80)
    page.js("scrollTo(0, document.documentElement.scrollHeight / 2)")
    for name in ("go", "inspector", "temperature"):
        assert _in_view(page, f"$('{name}')"), name


def test_a_wide_screen_is_used(page: Page) -> None:
    page.open(WIDE)
    left, right = page.js(
        "const all = ['branches-fold', 'writing', 'inspector'].map(one => $(one).getBoundingClientRect());"
        "return [all[0].left, all[2].right]"
    )
    assert left < 40
    assert right > 1880
    assert page.js(
        "return $('branches-fold').getBoundingClientRect().right < $('writing').getBoundingClientRect().left"
    )


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_nothing_jumps_while_it_writes(page: Page, size: tuple[int, int]) -> None:
    page.open(size)
    page.js("""
        window.shifts = [];
        const seen = list => shifts.push(...list.getEntries().filter(one => !one.hadRecentInput).map(one => one.value));
        new PerformanceObserver(seen).observe({ type: 'layout-shift' });
        const names = ['count', 'speed', 'first', 'go', 'meter'];
        window.widths = () => names.map(one => $(one).getBoundingClientRect().left);
    """)
    before = page.js("return widths()")
    page.hold()
    page.js("$('go').click()")
    for _ in range(20):
        page.send(" there")
    assert page.js("return widths()") == before
    page.finish()
    page.until("$('meter').textContent === '24 / 512'")
    assert page.js("return widths()") == before
    assert sum(page.js("return shifts")) == 0


@pytest.mark.parametrize("size", EVERY_SIZE)
def test_the_paper_wraps_as_the_text_does(page: Page, size: tuple[int, int]) -> None:
    """Every mark is under its word only if both layers break their lines at the same places."""
    page.open(size, max_tokens="300", seed="2").write("Tab\there, a very-very long word: " + "m" * 90 + "\n\nOnce")
    page.generate()
    heights = page.js("""
        const box = prompt, paper = $('paper'), result = [];
        const copy = box.cloneNode();
        copy.style.cssText = `position: absolute; visibility: hidden; height: 0; width: ${box.offsetWidth}px`;
        box.parentElement.append(copy);
        const style = getComputedStyle(box), line = parseFloat(style.lineHeight);
        const whole = box.value, first = rectsOf(paper, 0, 1)[0].top, padding = 2 * parseFloat(style.paddingTop);
        for (let end = 1; end <= whole.length; end += 7) {
          copy.value = whole.slice(0, end).trimEnd();
          const { top } = rectsOf(paper, copy.value.length - 1, copy.value.length).at(-1);
          result.push([Math.round((top - first) / line), Math.round((copy.scrollHeight - padding) / line) - 1]);
        }
        copy.remove();
        return result;
    """)
    # Without what follows, a word that is cut off can still fit on the line before.
    wrong = [one for one in heights if one[0] != one[1] and one[0] != one[1] + 1]
    assert wrong == []
    assert heights[-1][0] == heights[-1][1] > 3


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_stop_is_in_reach_wherever_the_reader_is(page: Page, size: tuple[int, int]) -> None:
    page.open(size).write("Once upon a time there was a cat.\n" * 60)
    page.hold()
    page.click("go")
    page.send(" there")
    page.js("$('settings-fold').open = true")
    for place in ("0", "document.documentElement.scrollHeight / 2", "document.documentElement.scrollHeight"):
        page.js(f"scrollTo(0, {place})")
        assert _in_view(page, "$('go')")
        assert page.js(
            "const { left, top } = $('go').getBoundingClientRect();"
            "return document.elementFromPoint(left + 9, top + 9) === $('go')"
        )
    page.finish()


@pytest.mark.parametrize("size", EVERY_SIZE)
def test_nothing_jumps_while_it_loads(page: Page, size: tuple[int, int]) -> None:
    page.open(
        size,
        before="""
            window.shifted = [];
            const name = node => node?.id || node?.parentElement?.id || node?.nodeName;
            new PerformanceObserver(list => {
              for (const one of list.getEntries()) shifted.push(...one.sources.map(source => name(source.node)));
            }).observe({ type: 'layout-shift' });
        """,
    )
    page.until("place && place.known && pieces" if size != PHONE else "pieces")
    page.browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert page.js("return shifted") == []
