"""A real browser for the tests of pages, one for all of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

Browser = webdriver.Chrome
Open = Callable[[Path], Browser]

TIMEOUT_S = 30


def started() -> Iterator[Browser]:
    """Start Chromium, and end it afterwards; skip the test where there is none."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no chromium with chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--force-prefers-reduced-motion", "--window-size=1280,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()


def opening(chrome: Browser) -> Iterator[Open]:
    """Open a page; whatever a test does with it, nothing may be written to the console."""

    def open_page(path: Path) -> Browser:
        chrome.get(path.as_uri())
        wait(chrome, "return document.documentElement.dataset.ready === 'yes'")
        return chrome

    yield open_page
    assert chrome.get_log("browser") == []


def wait(browser: Browser, condition: str) -> None:
    """Wait until a script returns something true."""
    WebDriverWait(browser, TIMEOUT_S).until(lambda _: browser.execute_script(condition))


def text(browser: Browser, selector: str) -> str:
    """Return what an element shows."""
    return str(browser.find_element(By.CSS_SELECTOR, selector).text)


def choose(browser: Browser, selector: str, choice: str) -> None:
    """Choose from a list."""
    Select(browser.find_element(By.CSS_SELECTOR, selector)).select_by_value(choice)


def picture(browser: Browser, canvas: str) -> str:
    """Return what a canvas shows."""
    return str(browser.execute_script(f"return document.getElementById('{canvas}').toDataURL()"))
