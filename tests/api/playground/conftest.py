import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from benchmarks.server import Served
from tests.api.playground.browser import Page, chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    one = chromium()
    yield one
    one.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, served: Served) -> Page:
    """The page, not yet opened; what an earlier test made the browser log is dropped."""
    one = Page(browser, served.url)
    one.messages()
    return one


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which a development package brings along; that package itself is not imported."""
    spec = importlib.util.find_spec("axe_playwright_python")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8")
