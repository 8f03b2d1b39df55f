from collections.abc import Iterator

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
