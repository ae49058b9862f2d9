"""One Chromium for all tests of pages; `make test-pages` brings it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.browser.harness import Browser, Gateway


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    # In containers there is often no user namespace for the sandbox, and little /dev/shm; all it sees is our own pages.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-background-networking"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Browser(options=options, service=Service("/usr/bin/chromedriver"))
    yield browser
    browser.quit()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """As new: nothing open, no cookie, a small phone of somebody who reads Korean."""
    chromium.looks()
    chromium.get_log("browser")  # type: ignore[no-untyped-call]  # what others did
    yield chromium
    chromium.looks()
    chromium.get("about:blank")
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    running = Gateway()
    yield running
    running.close()


@pytest.fixture(scope="session")
def screens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the screenshots are, for whoever wants to look."""
    path = tmp_path_factory.mktemp("screens")
    print(f"screenshots: {path}")
    return path
