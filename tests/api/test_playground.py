"""The page, in a real browser: what it shows, what it sends, and that Stop stops."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.server import Served, serve
from generation.api.playground import PAGE

# GitHub's runners name Chrome in CHROME_BIN and the folder of its driver in CHROMEWEBDRIVER.
CHROMIUM = shutil.which(os.environ.get("CHROME_BIN", "chromium"))
DRIVER = shutil.which("chromedriver", path=os.environ.get("CHROMEWEBDRIVER"))
WAIT_S = 30
browser_needed = pytest.mark.skipif(
    not (CHROMIUM and DRIVER) and not os.environ.get("REQUIRE_CHROMIUM"),
    reason="NO BROWSER: the playground is not tried. apt-get install chromium chromium-driver",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    one = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield one
    one.quit()


def _open(browser: webdriver.Chrome, url: str, **values: str) -> None:
    browser.get(f"{url}/playground")
    _until(browser, "return model !== null")
    for name, value in values.items():
        field = browser.find_element(By.ID, name)
        field.clear()
        field.send_keys(value)


def _until(browser: webdriver.Chrome, script: str) -> None:
    WebDriverWait(browser, WAIT_S, 0.02).until(lambda one: one.execute_script(script))


def _state(browser: webdriver.Chrome, state: str) -> None:
    _until(browser, f"return document.getElementById('state').textContent === '{state}'")


def _texts(browser: webdriver.Chrome) -> list[str]:
    return [str(one.get_property("textContent")) for one in browser.find_elements(By.CSS_SELECTOR, ".text")]


def test_it_is_served_with_a_policy_that_lets_nothing_else_in(client: httpx.Client) -> None:
    response = client.get("/playground")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-security-policy"].startswith("default-src 'none'; script-src 'sha256-")
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.text == PAGE.read_text(encoding="utf-8")
    assert "http://" not in response.text
    assert "https://" not in response.text


@browser_needed
def test_tokens_stream_into_a_card_for_each_sequence(
    browser: webdriver.Chrome, served: Served, client: httpx.Client
) -> None:
    _open(browser, served.url, prompt="Grüße 🙂 said", n="3", seed="5", max_tokens="20")
    browser.find_element(By.ID, "prompt").send_keys(Keys.CONTROL, Keys.ENTER)
    _state(browser, "done")
    asked = {"prompt": "Grüße 🙂 said", "n": 3, "seed": 5, "max_tokens": 20, "temperature": 0.8, "top_k": 50}
    choices = client.post("/v1/completions", json=asked).json()["choices"]
    assert _texts(browser) == [asked["prompt"] + one["text"] for one in choices]
    assert len(browser.find_elements(By.CSS_SELECTOR, ".token")) == int(browser.find_element(By.ID, "count").text)
    assert browser.find_element(By.ID, "first").text.endswith("ms")
    assert not browser.get_log("browser")  # type: ignore[no-untyped-call]


@browser_needed
def test_the_keyboard_shows_what_else_a_token_might_have_been(browser: webdriver.Chrome, served: Served) -> None:
    _open(browser, served.url, n="1", seed="5", max_tokens="5")
    browser.find_element(By.ID, "go").click()
    _state(browser, "done")
    browser.find_element(By.CSS_SELECTOR, ".text").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert browser.find_element(By.CSS_SELECTOR, "#looked h2").text.startswith("Token 2: ")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#looked .bar")) >= 5
    assert len(browser.find_elements(By.CSS_SELECTOR, "#looked .chosen")) == 1


def _measured(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^generation_{name} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


@browser_needed
def test_stop_ends_the_work_on_the_server(browser: webdriver.Chrome) -> None:
    # The work is over in a second, so the page itself clicks, and the browser keeps a processor.
    with serve(THREADS="1") as slow, httpx.Client(base_url=slow.url, timeout=WAIT_S) as client:
        _open(browser, slow.url, n="16", max_tokens="500")
        browser.execute_script(
            "new MutationObserver(() => state.textContent === 'running' && halt.click())"
            ".observe(state, { childList: true })"
        )
        browser.find_element(By.ID, "go").click()
        _state(browser, "stopped")
        assert browser.find_element(By.ID, "go").is_enabled()
        WebDriverWait(browser, WAIT_S, 0.02).until(lambda _: _measured(client, "cancelled_requests_total") == 1)
        WebDriverWait(browser, WAIT_S, 0.02).until(lambda _: _measured(client, "running_sequences") == 0)


@browser_needed
def test_an_error_is_shown_in_the_servers_words(browser: webdriver.Chrome, served: Served) -> None:
    _open(browser, served.url, max_tokens="100000")
    browser.find_element(By.ID, "go").click()
    _state(browser, "failed")
    assert "context window" in browser.find_element(By.ID, "error").text


@browser_needed
def test_the_key_is_sent_and_neither_shown_nor_kept(browser: webdriver.Chrome) -> None:
    with serve("--key", "secret-key") as keyed:
        _open(browser, keyed.url, n="1", max_tokens="3")
        browser.find_element(By.ID, "go").click()
        _state(browser, "failed")
        assert "function key" in browser.find_element(By.ID, "error").text
        browser.find_element(By.ID, "key").send_keys("secret-key")
        browser.find_element(By.ID, "go").click()
        _state(browser, "done")
        assert "$FUNCTION_KEY" in browser.find_element(By.ID, "code").text
        assert "secret-key" not in browser.find_element(By.TAG_NAME, "body").text
        assert (
            browser.execute_script("return localStorage.length + sessionStorage.length + document.cookie.length") == 0
        )


@browser_needed
@pytest.mark.parametrize("language", ["curl", "python"])
def test_the_code_that_it_shows_runs(browser: webdriver.Chrome, served: Served, language: str) -> None:
    _open(browser, served.url, prompt='It\'s "odd"', n="2", seed="4", max_tokens="6")
    browser.find_element(By.CSS_SELECTOR, f"[data-code={language}]").click()
    code = browser.find_element(By.ID, "code").text
    browser.find_element(By.ID, "go").click()
    _state(browser, "done")
    if language == "curl":
        said = subprocess.run(["bash", "-c", code + " -s"], capture_output=True, text=True, timeout=60, check=True)
        assert said.stdout.endswith("data: [DONE]\n\n")
        assert "error" not in said.stdout
    else:
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        shown = [text.removeprefix('It\'s "odd"') for text in _texts(browser)]
        assert said.stdout == "\n---\n".join(shown) + "\n"


@browser_needed
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out(browser: webdriver.Chrome, served: Served, width: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    _open(browser, served.url, n="2", max_tokens="30")
    browser.find_element(By.ID, "go").click()
    _state(browser, "done")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
