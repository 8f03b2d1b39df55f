"""Drives the playground in headless Chromium."""

import json
import os
import shutil
from collections.abc import Sequence
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

# GitHub's runners name Chrome in CHROME_BIN and the folder of its driver in CHROMEWEBDRIVER.
CHROMIUM = shutil.which(os.environ.get("CHROME_BIN", "chromium"))
DRIVER = shutil.which("chromedriver", path=os.environ.get("CHROMEWEBDRIVER"))
WAIT_S = 10
DESKTOP, PHONE, TABLET, WIDE = (1280, 1000), (390, 844), (820, 1180), (1920, 1080)

EVERY_SIZE = [
    PHONE,
    pytest.param(TABLET, marks=pytest.mark.heavy),
    pytest.param(DESKTOP, marks=pytest.mark.heavy),
    WIDE,
]

# Answers the streams of the page from the test: `send` an event, `end` or `fail` the connection.
HELD = """
const real = window.fetch;
window.fetch = (url, options) => {
  if (!url.endsWith('/v1/completions') || !JSON.parse(options.body).stream) return real(url, options);
  window.asked = JSON.parse(options.body);
  return Promise.resolve(new Response(new ReadableStream({ start(control) {
    window.send = data => control.enqueue(new TextEncoder().encode(`data: ${data}\\n\\n`));
    window.end = () => control.close();
    window.fail = () => control.error(new TypeError('network error'));
    options.signal.addEventListener('abort', () => control.error(new DOMException('aborted', 'AbortError')));
  } })));
};
"""
# What the page puts off until the person pauses comes at once.
PREPARED = """
window.realFetch = window.fetch;
const wait = window.setTimeout;
window.setTimeout = (run, ms, ...more) => wait(run, ms <= 300 ? 0 : ms, ...more);
"""

# Brings a loaded page back to where it began, which is ten times as fast as loading it.
RESET = """
running?.abort();
asking?.abort();
window.fetch = realFetch;
for (const name of Object.keys(window)) if (/^sent_|^send$/.test(name)) delete window[name];
modes.remove('heat', 'sheet');
$('heat').ariaPressed = 'false';
$('scale').hidden = true;
$('authors').hidden = false;
for (const one of document.querySelectorAll('details')) one.open = !phone.matches && one.id !== 'share-fold';
$('curl').click();
$('key').value = '';
document.activeElement.blur();
start([{ by: 'y', text: 'Once upon a time' }], {});
nodes = [];
place = pieces = null;
changed('Ready');
for (const name of ['first', 'speed', 'count']) $(name).textContent = '\\u2013';
scrollTo(0, 0);
"""
loaded: dict[webdriver.Chrome, tuple[tuple[int, int], bool, str] | None] = {}


def chromium() -> webdriver.Chrome:
    """Start a browser; skip the test where there is none and none is required."""
    if not (CHROMIUM and DRIVER) and not os.environ.get("REQUIRE_CHROMIUM"):
        pytest.skip("NO BROWSER: the playground is not tried. apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    arguments = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars")
    for argument in (*arguments, "--host-resolver-rules=MAP plain.test 127.0.0.1"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(DRIVER))


class Page:
    """The page in a browser. `url` ends in ``/api``."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        self.url = url

    def open(
        self,
        size: tuple[int, int] = DESKTOP,
        *,
        dark: bool = False,
        fragment: str = "",
        keep: bool = False,
        before: str = "",
        url: str = "",
        **settings: str,
    ) -> "Page":
        """Show the page as it is when it was just loaded.

        Args:
            size: of the window, in CSS pixels; PHONE also has touch instead of a mouse.
            dark: whether the user prefers dark colours.
            fragment: what follows ``#`` in the address.
            keep: keep the browser's storage.
            before: a script that runs before those of the page.
            url: instead of the server's own.
            settings: values of fields, by id.
        """
        wanted = (size, dark, url)
        if loaded.get(self.browser) == wanted and not (fragment or keep or before):
            self.js(RESET)
        else:
            self._load(size, dark, f"{url or self.url}/playground{fragment and f'#{fragment}'}", keep, before)
        loaded[self.browser] = None if before else wanted
        self.set(**settings)
        return self

    def _load(self, size: tuple[int, int], dark: bool, address: str, keep: bool, before: str) -> None:
        touch = size == PHONE
        self.browser.get("about:blank")
        before = PREPARED + before
        if not keep:
            before = f"if (location.protocol !== 'about:') localStorage.clear();\n{before}"
        self.cdp("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=touch)
        self.cdp("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])
        script = self.cdp("Page.addScriptToEvaluateOnNewDocument", source=before)["identifier"]
        self.browser.get(address)
        self.cdp("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
        self.until("model !== null")

    def reload(self) -> None:
        """Load the same address again, as the user does."""
        loaded[self.browser] = None
        self.js("keep()")
        self.browser.refresh()
        self.until("model !== null")

    def cdp(self, command: str, **arguments: Any) -> Any:
        return self.browser.execute_cdp_cmd(command, arguments)

    def js(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def until(self, condition: str) -> None:
        """Wait until an expression of the page is true."""
        WebDriverWait(self.browser, WAIT_S, 0.01).until(lambda one: one.execute_script(f"return Boolean({condition})"))

    def find(self, name: str) -> WebElement:
        return self.browser.find_element(By.ID, name)

    def click(self, name: str) -> None:
        self.find(name).click()

    def set(self, **values: str) -> None:
        """Put values into fields as a user's input does."""
        for name, value in values.items():
            self.js(
                "$(arguments[0]).value = arguments[1]; "
                "$(arguments[0]).dispatchEvent(new Event('input', { bubbles: true }))",
                name,
                value,
            )

    def write(self, text: str) -> None:
        """Replace the text by one of the person's."""
        self.set(prompt=text)
        self.js("placeCursor(prompt.value.length)")

    def cursor(self, place: int) -> None:
        self.js("prompt.focus(); placeCursor(arguments[0])", place)

    def generate(self) -> None:
        self.click("go")
        self.idle()

    def idle(self) -> None:
        self.until("running === null")

    def settled(self) -> None:
        """Wait until the next token is shown."""
        self.until("running === null && place && place.known && pieces")

    @property
    def text(self) -> str:
        return str(self.js("return prompt.value"))

    @property
    def state(self) -> str:
        return str(self.js("return $('state').textContent"))

    @property
    def focus(self) -> str:
        return str(self.js("return document.activeElement.id || document.activeElement.className"))

    def said(self, name: str) -> str:
        return str(self.js("return $(arguments[0]).textContent", name))

    def rows(self) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, "#rows button")

    def choose(self, number: int) -> None:
        """Press a row of the panel."""
        self.js("document.querySelectorAll('#rows button')[arguments[0]].click()", number)

    def branches(self) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, "#branches button")

    def authors(self) -> list[list[str]]:
        """Return who wrote what."""
        result: list[list[str]] = self.js("return doc.map(one => [one.by, one.text])")
        return result

    def hold(self) -> None:
        """From now on, answer the page's streams from the test."""
        self.js(HELD)

    def send(self, text: str, logprob: float = -0.5, index: int = 0, reason: str | None = None) -> None:
        """Send one token of a held stream."""
        offset = self.js(f"return window.sent_{index} ?? 0")
        self.js(f"window.sent_{index} = {offset + len(text)}")
        top = {text: logprob, " other": -2.0, " third": -3.0}
        report = {"tokens": [text], "token_logprobs": [logprob], "top_logprobs": [top], "text_offset": [offset]}
        choice = {"index": index, "text": text, "logprobs": report, "finish_reason": reason}
        self.until("window.send")
        self.js("send(arguments[0])", json.dumps({"choices": [choice]}))

    def finish(self) -> None:
        self.js("send('[DONE]')")
        self.idle()

    def tap(self, number: int) -> None:
        """Touch a token of the text."""
        x, y = self.js(
            "const { start, end } = tokensOf(doc)[arguments[0]], one = rectsOf($('paper'), start, end).at(-1);"
            "return [one.x + one.width / 2, one.y + one.height / 2]",
            number,
        )
        self.cdp("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.cdp("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def messages(self, but: Sequence[str] = ()) -> list[str]:
        """Return what the browser logged since the last call: errors of scripts and of the policy among them."""
        logged = [str(one["message"]) for one in self.browser.get_log("browser")]  # type: ignore[no-untyped-call]
        return [one for one in logged if not any(part in one for part in but)]


def findings(page: Page, axe: str) -> list[str]:
    """Return what axe-core finds wrong, best practices included."""
    page.js(axe)
    found = page.browser.execute_async_script(
        "const done = arguments[0]; axe.run().then(found => done(found.violations), error => done(String(error)))"
    )
    assert isinstance(found, list), found
    return [f"{one['id']}: {json.dumps([node['html'][:120] for node in one['nodes']])}" for one in found]
