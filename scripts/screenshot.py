"""Take the README's picture of the playground: ``python -m scripts.screenshot``.

It needs the dependency group `dev`, and Chromium. The picture shows the bundled model. The same page, model and
processor give the same text.
"""

import os
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.server import serve
from generation.config import ROOT

PICTURE = ROOT / "docs" / "images" / "playground.png"
PROMPT = "Once upon a time, there was a"
# As a user's input does.
FILL = "([name, value]) => { $(name).value = value; $(name).dispatchEvent(new Event('input', { bubbles: true })) }"
SETTINGS = {"max_tokens": "40", "seed": "5", "top_p": "0.9"}


def take(path: Path) -> None:
    """Generate a text in the playground, select one of its tokens, and write the picture to `path`."""
    with serve() as served, sync_playwright() as playwright:
        chromium = shutil.which(os.environ.get("CHROME_BIN", "chromium"))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 760}, color_scheme="light", bypass_csp=True)
        page.goto(f"{served.url}/playground")
        page.wait_for_function("model !== null")
        for name, value in {"prompt": PROMPT, **SETTINGS}.items():
            page.evaluate(FILL, [name, value])
        page.evaluate("placeCursor(prompt.value.length)")
        page.click("#go")
        page.wait_for_function("running === null")
        # The cursor in the first generated word shows what else the model considered there.
        page.evaluate("place => { prompt.focus(); placeCursor(place) }", len(PROMPT) + 2)
        page.wait_for_function("place && place.known && pieces")
        page.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    take(PICTURE)
