"""The waiting page in a real browser: it fits, it can be read, and it gets people in with script and without."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import selenium_axe_python
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from gateway.pages.waiting import State
from gateway.pages.words import ENGLISH, KOREAN, Language, minutes
from tests.browser.harness import PASS, Browser, Gateway, Scheme

pytestmark = pytest.mark.browser
STATES: tuple[State, ...] = get_args(State)
URL = "https://walk.example/signup"
FINGER_PX = 44
# The file alone: the wheel's own way of calling it cannot switch off a rule.
AXE = (Path(selenium_axe_python.__file__).parent / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
FULL: dict[str, Any] = {
    "ahead": 5226,
    "p50_s": 1490,
    "p90_s": 2013,
    "message": "오늘 오후 3시까지 천천히 들어갑니다. 기다려 주셔서 고맙습니다.",
    "reason": "overload",
}


def waits(browser: Browser, claim: Callable[[], object]) -> None:
    """Until it is so.  What was found may be of the page before."""
    WebDriverWait(browser, 20, 0.05, [StaleElementReferenceException, NoSuchElementException]).until(lambda _: claim())


def found(browser: Browser, css: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, css)


def head(browser: Browser) -> str:
    """The first heading that shows; between two pages there is none."""
    text: str | None = browser.execute_script("const h = [...document.querySelectorAll('h2')].find((one) => one.checkVisibility()); return h && h.textContent")
    return text or ""


def seen(browser: Browser) -> str:
    """The text that shows.  Selenium's own leaves <noscript> out."""
    text: str = browser.execute_script("return document.querySelector('main').innerText")
    return text


def said(browser: Browser) -> str:
    """What is read aloud."""
    return found(browser, "#said").get_attribute("textContent") or ""


def violations(browser: Browser) -> list[str]:
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    # meta-refresh (WCAG 2.2.1): only who has no script is reloaded, and a place must be asked for to stay live: the
    # "essential" exception.  Nothing is lost by it; there is no field to fill in on the pages that do it.
    options = {"runOnly": rules, "rules": {"meta-refresh": {"enabled": False}}}
    browser.execute_script(AXE)
    told = browser.execute_async_script("const [options, done] = arguments; axe.run(document, options).then(done)", options)
    return [f"{one['id']}: {[node['html'][:120] for node in one['nodes']]}" for one in told["violations"]]


def refused(browser: Browser) -> list[str]:
    """What the page's own policy stopped, and what the script threw."""
    log: list[dict[str, str]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in log if entry["source"] in {"security", "javascript"} or "Content Security" in entry["message"]]


# How it looks


@pytest.mark.parametrize(("lang", "state", "width"), list(product(("ko", "en"), STATES, (360, 1280))))
@pytest.mark.parametrize("script", [True, False], ids=["script", "plain"])
def test_every_state_can_be_read(browser: Browser, gateway: Gateway, screens: Path, lang: Language, state: State, width: int, script: bool) -> None:
    """axe finds nothing; all targets are as high as a finger; nothing sticks out."""
    url = URL if width == 360 else ""  # both ways on
    gateway.view = gateway.view._replace(state=state, next_s=60, pass_text=PASS, continue_url=url, **FULL)
    gateway.places.append({"state": "waiting", "poll_after_s": 60, "ahead": 1, "p50_s": 1, "p90_s": 1})
    gateway.knocks.append(60)
    browser.looks(width=width, lang=lang, script=script)
    browser.get(gateway.url)
    words = KOREAN if lang == "ko" else ENGLISH
    if state != "called" or not script:  # with script it is on its way
        assert head(browser) == words[f"{state}_head"]
    text = seen(browser)
    assert (words["turn_script"] in text) == (script and state not in {"through", "full", "shut"})
    assert (words["turn_text"] in text) == (not script and state not in {"through", "full", "shut"})
    browser.shoot(screens / f"{state}-{lang}-{width}-{'script' if script else 'plain'}.png")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})  # for axe; the page stays as it is
    assert not violations(browser)
    assert not refused(browser)
    fits(browser, width)


@pytest.mark.parametrize("state", STATES)
def test_in_the_dark(browser: Browser, gateway: Gateway, screens: Path, state: State) -> None:
    gateway.view = gateway.view._replace(state=state, next_s=60, pass_text=PASS, **FULL)
    gateway.places.append({"state": "waiting", "poll_after_s": 60, "ahead": 1, "p50_s": 1, "p90_s": 1})
    scheme: Scheme = "dark"
    browser.looks(scheme=scheme)
    browser.get(gateway.url)
    browser.shoot(screens / f"{state}-dark.png")
    assert not violations(browser)


@pytest.mark.parametrize(("width", "text_percent"), [(320, 100), (360, 200), (1280, 400)])
@pytest.mark.parametrize("lang", ["ko", "en"])
@pytest.mark.parametrize("state", STATES)
def test_small_screens_and_large_letters(
    browser: Browser, gateway: Gateway, screens: Path, state: State, lang: Language, width: int, text_percent: int
) -> None:
    """320 px, and letters twice as large on a phone, scroll in one direction only."""
    gateway.view = gateway.view._replace(state=state, next_s=60, pass_text=PASS, **FULL)
    gateway.places.append({"state": "waiting", "poll_after_s": 60, "ahead": 1_000_000, "p50_s": 4800, "p90_s": 7200})
    browser.looks(width=width, lang=lang)
    browser.get(gateway.url)
    browser.execute_script("document.documentElement.style.fontSize = arguments[0] + 'px'", 20 * text_percent / 100)
    browser.shoot(screens / f"{state}-{lang}-{width}-{text_percent}.png")
    fits(browser, width)


def fits(browser: Browser, width: int) -> None:
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    targets = [one.rect for one in browser.find_elements(By.CSS_SELECTOR, "a, button, input:not([type=hidden])") if one.is_displayed()]
    assert all(rect["height"] >= FINGER_PX and rect["width"] >= FINGER_PX for rect in targets), targets


def test_focus_is_seen(browser: Browser, gateway: Gateway, screens: Path) -> None:
    browser.get(gateway.url)
    browser.switch_to.active_element.send_keys("\ue004")  # Tab
    browser.shoot(screens / "focus.png")
    button = browser.switch_to.active_element
    assert button.tag_name == "button"
    assert button.value_of_css_property("outline-style") != "none"
    assert float(button.value_of_css_property("outline-width").removesuffix("px")) >= 3


# How it gets people in


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_with_script_the_page_goes_in_by_itself(browser: Browser, gateway: Gateway, screens: Path, lang: Language) -> None:
    words = KOREAN if lang == "ko" else ENGLISH
    gateway.view = gateway.view._replace(continue_url=URL)
    gateway.places.extend(
        [
            {"state": "waiting", "ahead": 12, "p50_s": 61, "p90_s": 119, "poll_after_s": 1},
            {"state": "paused", "ahead": 12, "p50_s": 61, "p90_s": 119, "poll_after_s": 1},
            {"state": "closed", "ahead": 12, "p50_s": 61, "p90_s": 119, "poll_after_s": 1},
            {"state": "called", "ahead": 0, "p50_s": 0, "p90_s": 0, "poll_after_s": 0},
        ]
    )
    gateway.knocks.append(1)
    browser.looks(lang=lang)
    browser.get(gateway.url)
    found(browser, "button").click()
    waits(browser, lambda: head(browser) == words["waiting_head"])
    browser.execute_script("window.stays = true")
    waits(browser, lambda: browser.title.startswith(minutes(61, 119, lang)))
    assert found(browser, ".ahead").text == "12"
    assert words["at"].split("{}")[0] in found(browser, "#at").text
    waits(browser, lambda: head(browser) == words["paused_head"])
    waits(browser, lambda: head(browser) == words["closed_head"])
    waits(browser, lambda: head(browser) == words["busy_head"])
    assert words["busy_head"] in said(browser)
    waits(browser, lambda: head(browser) == words["through_head"])
    browser.shoot(screens / f"in-{lang}.png")
    assert browser.execute_script("return window.stays"), "it was the same page all the time"
    assert browser.switch_to.active_element.get_attribute("id") == "done"
    assert found(browser, "#go").get_attribute("href") == f"{URL}#pass={PASS}"
    assert found(browser, "#until").is_displayed()
    assert browser.title.startswith(words["turn"])
    assert gateway.count("POST /v1/rooms/signup/passes") == 2
    assert not refused(browser)


@pytest.mark.parametrize("url", [URL, ""])
def test_without_script_the_forms_do(browser: Browser, gateway: Gateway, url: str) -> None:
    gateway.view = gateway.view._replace(continue_url=url)
    gateway.knocks.append(30)
    browser.looks(lang="en", script=False)
    browser.get(gateway.url)
    found(browser, "button").click()
    waits(browser, lambda: "Your turn" in browser.title)  # reloaded by itself
    assert gateway.asked == ["GET /rooms/signup", "POST /rooms/signup", *["GET /rooms/signup"] * 2]
    found(browser, "section:not([hidden]) button").click()
    waits(browser, lambda: ENGLISH["busy_again"] in seen(browser))
    found(browser, "section:not([hidden]) button").click()
    waits(browser, lambda: ENGLISH["through_head"] in seen(browser))
    if url:
        assert found(browser, "#go").get_attribute("href") == f"{URL}#pass={PASS}"
    else:
        assert found(browser, "#pass").get_attribute("value") == PASS
        assert not found(browser, "#copy").is_displayed()
    # no-referrer hides our own origin from ourselves: a check of Origin must let "null" of our own cookie pass
    assert set(gateway.origins) == {"null"}


def test_who_is_called_when_the_page_opens_goes_in_at_once(browser: Browser, gateway: Gateway) -> None:
    gateway.view = gateway.view._replace(state="called")
    gateway.places.append({"state": "called", "ahead": 0, "p50_s": 0, "p90_s": 0, "poll_after_s": 0})
    browser.get(gateway.url)
    waits(browser, lambda: head(browser) == KOREAN["through_head"])
    assert found(browser, "#pass").get_attribute("value") == PASS
    found(browser, "#copy").click()
    assert said(browser) == KOREAN["copied"]
    assert gateway.count("POST /v1/rooms/signup/passes") == 1


def test_two_presses_are_one_join(browser: Browser, gateway: Gateway) -> None:
    gateway.places.append({"state": "paused", "ahead": 1, "p50_s": 0, "p90_s": 0, "poll_after_s": 60})
    browser.get(gateway.url)
    browser.execute_script("const b = document.querySelector('button'); b.click(); b.click()")
    waits(browser, lambda: head(browser) == KOREAN["waiting_head"])
    assert gateway.count("POST /rooms/signup") == 1


# What it does on a bad day


def waiting(gateway: Gateway, *told: dict[str, Any] | int) -> None:
    gateway.view = gateway.view._replace(state="waiting", ahead=30, p50_s=600, p90_s=600, next_s=1)
    usual = {"state": "waiting", "ahead": 30, "p50_s": 600, "p90_s": 600, "poll_after_s": 1}
    gateway.places.extend([one if isinstance(one, int) else {**usual, **one} for one in told])


def test_no_rise_without_a_reason(browser: Browser, gateway: Gateway) -> None:
    rise = {"p50_s": 1200, "p90_s": 1200}
    waiting(gateway, {"ahead": 29, **rise}, {"ahead": 28, **rise, "reason": "told"}, {"ahead": 27, "p50_s": 300, "p90_s": 300, "poll_after_s": 60})
    browser.looks(lang="en")
    browser.get(gateway.url)
    waits(browser, lambda: found(browser, ".ahead").text == "29")
    assert found(browser, "#wait").text == "about 10 minutes"
    waits(browser, lambda: found(browser, ".ahead").text == "28")
    assert found(browser, "#wait").text == "about 20 minutes"
    assert ENGLISH["why_told"] in seen(browser)
    assert ENGLISH["why_slow"] not in seen(browser)
    waits(browser, lambda: found(browser, ".ahead").text == "27")
    assert found(browser, "#wait").text == "about 5 minutes"
    assert ENGLISH["why"] not in seen(browser)


def test_a_rise_that_lasts_is_told_all_the_same(browser: Browser, gateway: Gateway) -> None:
    """Three answers in a row; a wait that is not true would be worse than one without a reason."""
    waiting(
        gateway,
        {"ahead": 30, "p50_s": 300, "p90_s": 300},
        *({"ahead": ahead, "p50_s": 1200, "p90_s": 1200} for ahead in (29, 28)),
        {"ahead": 27, "p50_s": 1200, "p90_s": 1260},
    )
    browser.looks(lang="en")
    browser.get(gateway.url)
    waits(browser, lambda: found(browser, ".ahead").text == "28")
    assert found(browser, "#wait").text == "about 5 minutes"
    waits(browser, lambda: found(browser, ".ahead").text == "27")
    assert found(browser, "#wait").text == "about 20–25 minutes"
    assert ENGLISH["why"] in seen(browser)
    assert ENGLISH["why_told"] not in seen(browser)


def test_trouble_is_said_and_passes(browser: Browser, gateway: Gateway, screens: Path) -> None:
    waiting(gateway, 503, {"ahead": 29, "poll_after_s": 60})
    browser.get(gateway.url)
    waits(browser, lambda: found(browser, "#trouble").is_displayed())
    browser.shoot(screens / "trouble.png")
    assert said(browser) == KOREAN["trouble"]
    assert not violations(browser)
    waits(browser, lambda: found(browser, ".ahead").text == "29")
    assert not found(browser, "#trouble").is_displayed()


def test_a_network_that_is_gone_is_trouble_too(browser: Browser, gateway: Gateway) -> None:
    waiting(gateway, {"ahead": 29, "poll_after_s": 1})
    browser.get(gateway.url)
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
    waits(browser, lambda: found(browser, "#trouble").is_displayed())
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
    waits(browser, lambda: not found(browser, "#trouble").is_displayed())


def test_what_the_page_does_not_understand_opens_it_anew(browser: Browser, gateway: Gateway) -> None:
    """A ticket of yesterday: the server says what now, and not in a loop."""
    waiting(gateway, 403)
    browser.get(gateway.url)
    waits(browser, lambda: gateway.count("GET /v1/rooms/signup/place") == 1)
    gateway.view = gateway.view._replace(state="outside")
    waits(browser, lambda: head(browser) == KOREAN["outside_head"])
    assert gateway.asked == ["GET /rooms/signup", "GET /v1/rooms/signup/place", "GET /rooms/signup"]


def test_a_provisional_place_has_no_numbers(browser: Browser, gateway: Gateway) -> None:
    gateway.view = gateway.view._replace(state="waiting", ahead=30, p50_s=600, p90_s=600, next_s=1)
    gateway.places.append({"ticket": "t", "state": "provisional", "poll_after_s": 60})
    browser.get(gateway.url)
    waits(browser, lambda: head(browser) == KOREAN["provisional_head"])
    assert not found(browser, "#trouble").is_displayed()


def test_a_phone_that_wakes_asks_at_once_but_not_more_than_once_a_second(browser: Browser, gateway: Gateway) -> None:
    waiting(gateway, {"ahead": 29, "poll_after_s": 600})
    gateway.view = gateway.view._replace(next_s=600)
    browser.get(gateway.url)
    wake = "for (let n = 0; n < 20; n++) document.dispatchEvent(new Event('visibilitychange'))"
    browser.execute_script(wake)
    waits(browser, lambda: found(browser, ".ahead").text == "29")
    assert gateway.count("GET /v1/rooms/signup/place") == 1
    browser.execute_script(wake)
    waits(browser, lambda: gateway.count("GET /v1/rooms/signup/place") == 2)
    found(browser, "#look button").click()
    waits(browser, lambda: gateway.count("GET /v1/rooms/signup/place") == 3)
    assert gateway.count("GET /rooms/signup") == 1


# The two homes of one rule


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_page_and_renderer_say_the_same_estimate(browser: Browser, gateway: Gateway, lang: Language) -> None:
    edges = [0, 0.4, 29, 30, 59.9, 60, 89.9, 90, 1199, 1200, 1350, 3569, 3599, 3600, 3601, 10_799, 10_800, 43_199, 43_200, 45_000, 86_399, 86_400, 1e7]
    pairs = [[one, other] for one in edges for other in edges]
    pairs += [[second, 1.4 * second + 7] for second in range(0, 90_000, 37)]
    browser.looks(lang=lang)
    browser.get(gateway.url)
    told = browser.execute_script("return JSON.parse(arguments[0]).map(([a, b]) => minutes(a, b))", json.dumps(pairs))
    assert told == [minutes(one, other, lang) for one, other in pairs]
