"""The operators' page in a real browser: it answers at a glance, says when it is old, loses no point and pulls the lever."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from gateway.ops.frame import POINT
from tests.browser import ops_frames
from tests.browser.harness import Browser, Scheme
from tests.browser.ops_harness import ASSETS, DASHBOARD, TOKEN, Ops, past
from tests.browser.test_waiting import found, refused, violations, waits

pytestmark = pytest.mark.browser
WORDS: Final[dict[str, dict[str, str]]] = json.loads((DASHBOARD / "words.json").read_text(encoding="utf-8"))
FRAMES: Final = {
    "busy": ops_frames.busy,
    "empty": ops_frames.empty,
    "red": ops_frames.red,
    "spooling": ops_frames.spooling,
    "unknown": ops_frames.before_the_store,
}
DAY_S: Final = 86_400
HOUR_S: Final = 3_600
FINGER_PX: Final = 44


@pytest.fixture
def ops() -> Iterator[Ops]:
    running = Ops()
    running.rows = past(running.frame, 60)
    yield running
    running.close()


def opened(browser: Browser, ops: Ops, *, lang: str = "en", width: int = 1280, scheme: Scheme = "light") -> None:
    """The page, with its first frame on it."""
    browser.looks(width=width, height=800, lang=lang, scheme=scheme)
    browser.get(ops.url)
    browser.execute_script("localStorage.clear(); localStorage.setItem('sluicegate-language', arguments[0])", lang)
    browser.get_log("browser")  # type: ignore[no-untyped-call]  # of the page before
    browser.get(ops.url)
    waits(browser, lambda: found(browser, "#up .text").text)


def text(browser: Browser, css: str) -> str:
    said: str = browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", css)
    return said


def said(key: str, lang: str = "en", **values: object) -> str:
    return WORDS[lang][key].format(**values)


def signs_in(browser: Browser, token: str = TOKEN) -> None:
    found(browser, "#token").send_keys(token, Keys.ENTER)


def signed_in(browser: Browser, ops: Ops, lang: str = "en", width: int = 1280, scheme: Scheme = "light") -> None:
    opened(browser, ops, lang=lang, width=width, scheme=scheme)
    signs_in(browser)
    waits(browser, lambda: found(browser, "#acts").is_displayed())


def fits(browser: Browser, width: int) -> None:
    """Nothing sticks out, no word is cut, and all there is to press is as high as a finger."""
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    cut = browser.execute_script(
        "return [...document.querySelectorAll('button, h1, h2:not(.unseen), h3, legend, label, .answer, .details, .mark')]"
        ".filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== 'inline').map((one) => one.outerHTML)"
    )
    assert not cut
    assert browser.execute_script(
        "return [...document.querySelectorAll('#answers, #lights, #workers, #traffic, #slo')].every((one) => [...one.querySelectorAll('.scroll')].every((inside) => inside.scrollWidth <= inside.clientWidth))"
    )
    targets = [one.rect for one in browser.find_elements(By.CSS_SELECTOR, "button, input:not([type=radio]), textarea") if one.is_displayed()]
    assert all(rect["height"] >= FINGER_PX for rect in targets), targets


def errors(browser: Browser) -> list[str]:
    log: list[dict[str, str]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in log]


# What it loads


def test_it_loads_what_it_is_made_of_and_asks_nobody_else(browser: Browser, ops: Ops) -> None:
    opened(browser, ops)
    waits(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".plot canvas"))
    addresses: list[str] = browser.execute_script("return performance.getEntriesByType('resource').map(({name}) => name)")
    assert not [address for address in addresses if not address.startswith(ops.url)]
    assert {address.removeprefix(f"{ops.url}assets/") for address in addresses if "/assets/" in address} | {"icon.svg"} == ASSETS.keys()
    assert errors(browser) == []


# What it answers


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_the_first_screen_answers_the_five_questions(browser: Browser, ops: Ops, lang: str) -> None:
    ops.says("light", dependency="kafka", colour="amber", reason="slow")
    opened(browser, ops, lang=lang)
    heads = [one.text for one in browser.find_elements(By.CSS_SELECTOR, "#answers h2")]
    assert heads == [said(f"q.{name}", lang) for name in ("up", "wait", "drain", "bottleneck", "changed")]
    assert found(browser, "html").get_attribute("lang") == lang
    assert text(browser, "#up .text") == said("up.yes", lang)
    estimate = {"ko": "25분 – 34분", "en": "25 min – 34 min"}[lang]
    assert text(browser, "#wait .text") == said("wait.estimate", lang, depth="5,226", estimate=estimate)
    assert text(browser, "#drain .text") == said("drain.yes", lang, rate="50", through="49.8")
    assert text(browser, "#bottleneck .text") == said("bottleneck.downstream", lang)
    slow = said("log.light", lang, dependency="Kafka", colour=said("colour.amber", lang), reason=said("light.slow", lang))
    waits(browser, lambda: slow in text(browser, "#changed"))
    assert slow in text(browser, "#log")
    bottom: float = browser.execute_script("return document.querySelector('#lights').getBoundingClientRect().bottom")
    assert bottom <= 800  # all of it on the first screen


@pytest.mark.parametrize(
    ("change", "answer", "level"),
    [
        ({"through_per_s": 20.0}, ("drain.no", {"rate": "50", "through": "20"}), "bad"),
        ({"through_per_s": 40.0}, ("drain.no", {"rate": "50", "through": "40"}), "warn"),
        ({"through_per_s": 45.0}, ("drain.yes", {"rate": "50", "through": "45"}), "ok"),
        ({"through_per_s": 0.0, "uncalled": 0}, ("drain.idle", {}), "ok"),
        ({"state": "paused", "through_per_s": 0.0}, ("drain.paused", {}), "warn"),
        ({"state": "closed", "through_per_s": 0.0}, ("drain.closed", {}), "warn"),
    ],
)
def test_draining_is_judged_by_the_rate(browser: Browser, ops: Ops, change: dict[str, Any], answer: tuple[str, dict[str, str]], level: str) -> None:
    ops.frame["room"] |= change
    opened(browser, ops)
    assert text(browser, "#drain .text") == said(answer[0], **answer[1])
    assert found(browser, "#drain").get_attribute("data-level") == level


def test_trouble_is_told_by_word_shape_and_colour(browser: Browser, ops: Ops) -> None:
    ops.frame = ops_frames.red()
    opened(browser, ops)
    assert text(browser, "#up .text") == said("up.red", names="Kafka")
    assert text(browser, "#bottleneck .text") == said("bottleneck.kafka", reason=said("light.kafka-away"))
    marks = browser.execute_script(
        "return [...document.querySelectorAll('#lights .mark')].map((one) => [getComputedStyle(one, '::before').content[1], one.innerText, getComputedStyle(one).color])"
    )
    told = {shape: word for shape, word, _ in marks}
    assert told == {"▲": said("colour.amber"), "■": said("colour.red"), "●": said("colour.green"), "○": said("colour.grey")}
    assert len({colour for _, _, colour in marks}) == len(told)


def spool_rows(browser: Browser) -> dict[str, str]:
    """The panel of the spool: what each row says."""
    rows = browser.find_elements(By.CSS_SELECTOR, "#spool tr")
    return {row.find_element(By.TAG_NAME, "th").text: row.find_element(By.TAG_NAME, "td").text for row in rows}


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_the_spool_says_how_much_waits_how_long_and_when_it_will_be_empty(browser: Browser, ops: Ops, lang: str) -> None:
    ops.frame = ops_frames.spooling()
    opened(browser, ops, lang=lang)
    assert text(browser, "#bottleneck .text") == said("bottleneck.spool", lang, reason=said("light.spool-used", lang))
    left, oldest = {"ko": ("31분", "2시간 1분"), "en": ("31 min", "2 h 1 min")}[lang]
    assert spool_rows(browser) == {
        said("spool.state", lang): f"{said('colour.amber', lang)}: {said('light.spool-used', lang)}",
        said("spool.bytes", lang): said("spool.of", lang, bytes="34.8 GB", most="68.7 GB", share="51%"),
        said("spool.fullest", lang): "93%",
        said("spool.records", lang): "41,200,000",
        said("spool.oldest_s", lang): oldest,
        said("spool.replayed_per_s", lang): "22,400",
        said("spool.left_s", lang): left,
        said("spool.aside", lang): "0",
    }
    assert found(browser, "#spool tr").get_attribute("data-level") == "warn"
    assert {"ko": "3987만", "en": "39.9M"}[lang] in text(browser, "#machines tbody")
    assert found(browser, "#chart-spool").is_displayed()


def test_a_spool_that_does_not_shrink_promises_no_end_and_an_empty_one_needs_none(browser: Browser, ops: Ops) -> None:
    ops.frame = ops_frames.spooling()
    ops.frame["spool"]["left_s"] = None
    opened(browser, ops)
    assert spool_rows(browser)[said("spool.left_s")] == said("spool.stays")
    ops.frame = ops_frames.busy()
    waits(browser, lambda: spool_rows(browser)[said("spool.left_s")] == said("spool.empty"))
    assert spool_rows(browser)[said("spool.bytes")] == said("spool.of", bytes="131 kB", most="68.7 GB", share="0%")
    ops.frame = ops_frames.empty()
    waits(browser, lambda: not found(browser, "#spool").is_displayed())
    assert not found(browser, "#chart-spool").is_displayed()


def test_a_full_spool_is_named_and_red(browser: Browser, ops: Ops) -> None:
    ops.frame = ops_frames.spooling()
    ops.frame["lights"]["spool"] = ops_frames.light("red", "spool-full")
    ops.frame["bottleneck"] = {"code": "spool", "reason": "spool-full", "worker": None}
    opened(browser, ops)
    assert text(browser, "#up .text") == said("up.red", names=said("dependency.spool"))
    assert text(browser, "#bottleneck .text") == said("bottleneck.spool", reason=said("light.spool-full"))
    assert found(browser, "#bottleneck").get_attribute("data-level") == "bad"
    assert found(browser, "#spool tr").get_attribute("data-level") == "bad"


def test_the_language_is_the_browsers_until_somebody_says_otherwise(browser: Browser, ops: Ops) -> None:
    opened(browser, ops)
    browser.execute_script("localStorage.clear()")
    browser.get(ops.url)
    first = browser.execute_script("return navigator.language")[:2]
    waits(browser, lambda: text(browser, "#up h2") == said("q.up", "ko" if first == "ko" else "en"))
    found(browser, "[data-lang=ko]").click()
    assert text(browser, "#up h2") == said("q.up", "ko")
    assert text(browser, "#chart-depth") == said("chart.depth", "ko")
    browser.get(ops.url)
    waits(browser, lambda: text(browser, "#up .text") == said("up.yes", "ko"))
    assert found(browser, "html").get_attribute("lang") == "ko"


# How it looks


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
@pytest.mark.parametrize("lang", ["ko", "en"])
@pytest.mark.parametrize("name", FRAMES)
def test_every_state_can_be_read(browser: Browser, ops: Ops, screens: Path, name: str, lang: str, scheme: Scheme, width: int) -> None:
    ops.frame = FRAMES[name]()
    opened(browser, ops, lang=lang, width=width, scheme=scheme)
    browser.shoot(screens / f"ops-{name}-{lang}-{scheme}-{width}.png")
    fits(browser, width)
    assert not violations(browser)
    assert errors(browser) == []


@pytest.mark.parametrize(("lang", "scheme", "width"), [("ko", "light", 360), ("en", "dark", 1280), ("en", "light", 360), ("ko", "dark", 1280)])
def test_signed_in_too(browser: Browser, ops: Ops, screens: Path, lang: str, scheme: Scheme, width: int) -> None:
    """With an act on record, every chart as a table, a refusal, and the question before the door is closed."""
    signed_in(browser, ops, lang, width, scheme)
    found(browser, "#reason").send_keys("사" * 200)
    found(browser, "[data-act=pause]").click()
    waits(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#audit tbody tr")) == 1)
    found(browser, "[data-act=pause]").click()  # without a reason
    for button in browser.find_elements(By.CSS_SELECTOR, "figure button"):
        button.click()
    browser.shoot(screens / f"ops-signed-in-{lang}-{scheme}-{width}.png")
    fits(browser, width)
    assert not violations(browser)
    found(browser, "#reason").send_keys("x")
    found(browser, "[data-act=close]").click()
    waits(browser, lambda: found(browser, "#confirm").is_displayed())
    assert not violations(browser)


@pytest.mark.parametrize(("width", "text_px"), [(320, 16), (360, 32), (1280, 32)])
@pytest.mark.parametrize("lang", ["ko", "en"])
def test_small_screens_and_large_letters_scroll_one_way_only(browser: Browser, ops: Ops, screens: Path, lang: str, width: int, text_px: int) -> None:
    ops.frame = ops_frames.red()
    signed_in(browser, ops, lang, width)
    browser.execute_script("document.documentElement.style.fontSize = arguments[0] + 'px'", text_px)
    browser.shoot(screens / f"ops-{lang}-{width}-{text_px}.png")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_every_stop_of_the_tab_key_is_seen(browser: Browser, ops: Ops) -> None:
    signed_in(browser, ops)
    browser.execute_script("document.querySelector('.skip').focus()")
    stops = set()
    for _ in range(60):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        stop = browser.switch_to.active_element
        if stop.tag_name == "body":
            break
        stops.add(
            stop.get_attribute("id") or stop.get_attribute("data-act") or stop.get_attribute("data-lang") or stop.get_attribute("data-range") or stop.text
        )
        assert stop.value_of_css_property("outline-style") != "none", stop.get_attribute("outerHTML")
        assert float(stop.value_of_css_property("outline-width").removesuffix("px")) >= 3
    assert {"reason", "pause", "resume", "close", "open", "undo", "message", "rate_per_s", "ko", "en", "600", "86400", "sign-out"} <= stops


# When it is old


def test_it_says_loudly_that_it_is_old_and_stops_when_it_is_not(browser: Browser, ops: Ops, screens: Path) -> None:
    opened(browser, ops)
    assert not found(browser, "#stale").is_displayed()
    fresh = found(browser, "#wait .text").value_of_css_property("color")
    ops.is_silent = True
    waits(browser, lambda: found(browser, "#stale").is_displayed())
    assert found(browser, "#stale-said").get_attribute("role") == "alert"
    assert text(browser, "#stale-said") == said("stale")
    age = text(browser, "#stale-age")
    assert age.startswith("Last figures ")
    waits(browser, lambda: text(browser, "#stale-age") != age)  # it counts
    assert found(browser, "#wait .text").value_of_css_property("color") != fresh
    assert browser.title.startswith(said("live.old"))
    assert not violations(browser)
    browser.shoot(screens / "ops-stale.png")
    ops.is_silent = False
    waits(browser, lambda: not found(browser, "#stale").is_displayed())
    assert found(browser, "#wait .text").value_of_css_property("color") == fresh


def test_a_page_that_never_had_a_frame_says_that(browser: Browser, ops: Ops) -> None:
    ops.is_silent = True
    browser.looks(width=1280)
    browser.get(ops.url)
    waits(browser, lambda: found(browser, "#stale").is_displayed())
    assert text(browser, "#stale-said") in {said("stale.never", lang) for lang in WORDS}


def test_figures_of_a_line_whose_store_is_silent_are_of_before(browser: Browser, ops: Ops) -> None:
    opened(browser, ops)
    ops.frame["room"]["sign_age_ms"] = 9000
    waits(browser, lambda: found(browser, "#stale").is_displayed())
    assert text(browser, "#stale-said") == said("stale.sign")
    assert text(browser, "#stale-age") == said("stale.sign-age", age="9 s")
    assert "old" in (found(browser, "#wait").get_attribute("class") or "")
    assert "stale" not in (found(browser, "body").get_attribute("class") or "")
    assert not violations(browser)
    ops.frame["room"]["sign_age_ms"] = 200
    waits(browser, lambda: not found(browser, "#stale").is_displayed())


def test_a_frame_that_cannot_be_shown_is_no_frame(browser: Browser, ops: Ops) -> None:
    """A newer gateway's, say: the figures that still stand there are old."""
    opened(browser, ops)
    workers, ops.frame["workers"] = ops.frame["workers"], None
    waits(browser, lambda: found(browser, "#stale").is_displayed())
    assert text(browser, "#stale-said") == said("stale")
    ops.frame["workers"] = workers
    waits(browser, lambda: not found(browser, "#stale").is_displayed())


def test_a_connection_that_is_dead_but_not_closed_is_opened_anew(browser: Browser, ops: Ops) -> None:
    opened(browser, ops)
    ops.is_silent = True
    waits(browser, lambda: ops.count("GET /api/stream?last=") >= 1)


# What is read aloud


def test_numbers_are_not_read_aloud_but_changes_are(browser: Browser, ops: Ops) -> None:
    opened(browser, ops)
    browser.execute_script(
        "window.heard = []; for (const one of document.querySelectorAll('[role=status], [role=alert], [aria-live]')) "
        "new MutationObserver(() => heard.push(one.textContent)).observe(one, {childList: true, characterData: true, subtree: true})"
    )
    for depth in (6000, 7000, 8000):
        ops.frame["room"]["depth"] = depth
        ops.tick()
    waits(browser, lambda: "8,000" in text(browser, "#wait"))
    assert browser.execute_script("return heard") == []
    ops.frame["lights"]["redis"] = ops_frames.light("amber", "redis-slow")
    ops.frame["bottleneck"] = {"code": "redis", "reason": "redis-slow", "worker": None}
    waits(browser, lambda: browser.execute_script("return heard"))
    ops.tick()
    ops.tick()
    (heard,) = browser.execute_script("return heard")
    assert said("bottleneck.redis", reason=said("light.redis-slow")) in heard
    assert said("log.light", dependency="Redis", colour=said("colour.amber"), reason=said("light.redis-slow")) in heard


# The past


def drawn(browser: Browser) -> list[int]:
    """The instants of the first chart that have a value, as uPlot has them."""
    times, depths = browser.execute_script("return uPlot.sync('time').plots[0].data")
    return [round(at_s * 1000) for at_s, depth in zip(times, depths, strict=True) if depth is not None]


def caught_up(browser: Browser, ops: Ops) -> list[int]:
    """What is drawn once the page has history and frames again: the first second may be told by either."""
    missed = ops.tick()
    waits(browser, lambda: drawn(browser)[-1] >= missed)
    live = ops.tick()
    waits(browser, lambda: drawn(browser)[-1] >= live)
    return drawn(browser)


def test_a_restart_leaves_no_hole_in_the_chart(browser: Browser, ops: Ops) -> None:
    """Points of before, of while it was away from the server's history, and of after; none twice."""
    opened(browser, ops)
    first = ops.rows[0][0]
    waits(browser, lambda: drawn(browser)[0] == first)
    ops.stop()
    ops.lives(5)
    ops.start()
    now = caught_up(browser, ops)
    assert now == [row[0] for row in ops.rows if row[0] <= now[-1]]


def test_a_server_that_forgot_all_takes_nothing_away(browser: Browser, ops: Ops) -> None:
    opened(browser, ops)
    before = [row[0] for row in ops.rows]
    waits(browser, lambda: drawn(browser)[: len(before)] == before)
    ops.stop()
    ops.forgets()
    ops.start()
    waits(browser, lambda: said("log.started") in text(browser, "#log"))
    now = caught_up(browser, ops)
    assert now[: len(before)] == before
    assert now == sorted(set(now))


def test_a_stream_the_browser_gave_up_is_opened_anew_with_what_was_missed(browser: Browser, ops: Ops) -> None:
    opened(browser, ops)
    waits(browser, lambda: len(drawn(browser)) >= 60)
    ops.is_refusing = True
    ops.stop()
    ops.lives(3)
    ops.start()
    waits(browser, lambda: ops.count("GET /api/status") >= 2)
    ops.is_refusing = False
    waits(browser, lambda: ops.count("GET /api/stream?last=") >= 1)
    now = caught_up(browser, ops)
    assert now == [row[0] for row in ops.rows if row[0] <= now[-1]]


def test_a_day_is_fetched_once_and_bounded(browser: Browser, ops: Ops) -> None:
    """Asked for twice it is there once; beyond an hour one row in ten seconds stays."""
    seconds = past(ops.frame, DAY_S)
    ops.rows = [row for index, row in enumerate(seconds) if index % 10 == 0 or index >= DAY_S - HOUR_S]
    opened(browser, ops)
    for _ in range(2):
        found(browser, f"[data-range='{DAY_S}']").click()
        waits(browser, lambda: len(drawn(browser)) > 10_000)
    assert ops.count(f"GET /api/history?seconds={DAY_S}") == 2
    now = drawn(browser)
    assert now == sorted(set(now))
    assert len(now) <= HOUR_S + (DAY_S - HOUR_S) // 10 + 600
    coarse = [at_ms for at_ms in now if at_ms < now[-1] - HOUR_S * 1000]
    assert len({at_ms // 10_000 for at_ms in coarse}) == len(coarse)
    found(browser, "[data-range='600']").click()
    assert len(drawn(browser)) <= 601


def test_what_is_unknown_is_a_hole_and_not_nought(browser: Browser, ops: Ops) -> None:
    lag = POINT.index("room.lag")
    for row in ops.rows[20:40]:
        row[lag] = None
    opened(browser, ops)
    waits(browser, lambda: len(drawn(browser)) >= 60)
    values = browser.execute_script("return uPlot.sync('time').plots.at(-1).data[1]")
    assert values[:60].count(None) == 20


def test_every_chart_is_a_table_too(browser: Browser, ops: Ops) -> None:
    opened(browser, ops)
    for figure in browser.find_elements(By.CSS_SELECTOR, "figure"):
        assert not figure.find_element(By.CSS_SELECTOR, "table").is_displayed()
        figure.find_element(By.CSS_SELECTOR, "button").click()
        assert not figure.find_element(By.CSS_SELECTOR, ".plot").is_displayed()
        rows = figure.find_elements(By.CSS_SELECTOR, "tbody tr")
        assert 2 <= len(rows) <= 21
    waits(browser, lambda: text(browser, "figure tbody td") == f"{ops.frame['room']['depth']:,}")
    assert said("chart.summary", label=said("series.room.depth"), now="5,226", low="", high="").split(",")[0] in text(browser, "figure")
    found(browser, "figure button").click()
    assert found(browser, ".plot canvas").is_displayed()


def test_without_the_library_the_tables_show_and_a_note_says_so(browser: Browser, ops: Ops) -> None:
    ops.missing = {"uPlot.iife.min.js", "uPlot.min.css"}
    opened(browser, ops)
    assert text(browser, "#charts-note") == said("chart.missing")
    assert all(one.is_displayed() for one in browser.find_elements(By.CSS_SELECTOR, "figure table"))
    after = ops.tick()
    waits(browser, lambda: ops.frame["at_ms"] > after and text(browser, "figure tbody td") == "5,226")
    assert not refused(browser)


def test_a_page_left_open_does_not_grow(browser: Browser, ops: Ops) -> None:
    opened(browser, ops)
    for number in range(300):
        ops.says("worker-started", worker=number)
    waits(browser, lambda: said("log.worker-started", worker=299) in text(browser, "#log li"))
    assert len(browser.find_elements(By.CSS_SELECTOR, "#log li")) == 200
    elements = "return document.querySelectorAll('*').length"
    before = browser.execute_script(elements)
    browser.execute_script("window.sentence = document.querySelector('#up .text').firstChild")
    for _ in range(30):
        after = ops.tick()
    waits(browser, lambda: drawn(browser)[-1] >= after)
    assert browser.execute_script(elements) == before
    assert browser.execute_script("return sentence.isConnected")  # what did not change was not written: somebody may have selected it


# The lever


def says(browser: Browser, css: str, words: str) -> None:
    """In a moment, where it says something else now: an answer takes its way."""
    waits(browser, lambda: text(browser, css) == words)


def acts(browser: Browser, ops: Ops, act: str, reason: str = "downstream asked") -> dict[str, Any]:
    """Press it; what was posted."""
    count = len(ops.acts)
    found(browser, "#reason").clear()
    found(browser, "#reason").send_keys(reason)
    found(browser, f"[data-act={act}]").click()
    if act in {"close", "open"}:
        found(browser, "#confirm-yes").click()
    waits(browser, lambda: len(ops.acts) == count + 1)
    waits(browser, lambda: text(browser, "#act-said") not in {"", said("act.sending")})
    return ops.acts[-1]


def test_each_act_is_sent_as_it_is_meant(browser: Browser, ops: Ops) -> None:
    why = {"reason": "downstream asked"}
    signed_in(browser, ops)
    assert acts(browser, ops, "rate") == {"rate_per_s": None, **why}
    found(browser, "#rate_per_s").send_keys("20.5")
    assert acts(browser, ops, "rate") == {"rate_per_s": 20.5, **why}
    assert acts(browser, ops, "pause") == {"paused": True, **why}
    assert acts(browser, ops, "close") == {"closed": True, **why}
    found(browser, "#message").send_keys("오늘은 천천히 들어갑니다.")
    assert acts(browser, ops, "message") == {"message": "오늘은 천천히 들어갑니다.", **why}
    says(browser, "#act-said", said("act.done"))
    version = ops.frame["room"]["acts_version"]
    waits(browser, lambda: found(browser, "[data-act=undo]").get_attribute("aria-disabled") == "false")
    waits(browser, lambda: "오늘은" in text(browser, "#undo-what"))  # whoever presses sees what is undone
    assert acts(browser, ops, "undo") == {"undo": version, **why}
    ops.frame["room"]["state"] = "closed"
    waits(browser, lambda: found(browser, "[data-act=open]").get_attribute("aria-disabled") == "false")
    assert acts(browser, ops, "open") == {"closed": False, **why}
    ops.frame["room"]["state"] = "paused"
    waits(browser, lambda: found(browser, "[data-act=resume]").get_attribute("aria-disabled") == "false")
    assert acts(browser, ops, "resume") == {"paused": False, **why}
    assert "POST /api/rooms/signup" in ops.asked


def test_nothing_is_sent_without_a_reason_or_out_of_bounds(browser: Browser, ops: Ops) -> None:
    signed_in(browser, ops)
    found(browser, "#reason").send_keys("   ")
    found(browser, "[data-act=pause]").click()
    assert text(browser, "#reason-wrong") == said("wrong./reason")
    assert browser.switch_to.active_element.get_attribute("id") == "reason"
    assert found(browser, "#reason").get_attribute("aria-invalid") == "true"
    found(browser, "#reason").send_keys("because")
    for rate in ("9", "1001"):
        found(browser, "#rate_per_s").clear()
        found(browser, "#rate_per_s").send_keys(rate)
        found(browser, "[data-act=rate]").click()
        says(browser, "#rate_per_s-wrong", said("wrong./rate_per_s", floor="10", ceiling="1,000"))
    found(browser, "[data-act=undo]").click()
    says(browser, "#act-said", said("act.undo-none"))
    assert ops.acts == []


def test_the_question_before_closing_can_be_answered_no(browser: Browser, ops: Ops) -> None:
    signed_in(browser, ops)
    found(browser, "#reason").send_keys("evening")
    found(browser, "[data-act=close]").click()
    assert text(browser, "#confirm-title") == said("confirm.close")
    assert browser.switch_to.active_element.get_attribute("id") == "confirm-no"  # Enter does no harm
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    waits(browser, lambda: not found(browser, "#confirm").is_displayed())
    assert found(browser, "#reason").get_attribute("value") == "evening"
    assert ops.acts == []


@pytest.mark.parametrize(
    ("status", "told", "wanted"),
    [
        (503, {"code": "not-durable", "applied": False, "kept": True}, "act.kept"),
        (503, {"code": "not-durable", "applied": False, "kept": False}, "act.remembered"),
        (200, {"applied": True, "kept": False}, "act.done-not-kept"),
    ],
)
def test_what_became_of_an_act_is_told(browser: Browser, ops: Ops, status: int, told: dict[str, Any], wanted: str) -> None:
    signed_in(browser, ops)
    ops.answers.append((status, told))
    acts(browser, ops, "pause")
    says(browser, "#act-said", said(wanted))
    assert found(browser, "#reason").get_attribute("value") == ""  # the next act has one of its own


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_refusals_stand_beside_their_field_in_words(browser: Browser, ops: Ops, lang: str) -> None:
    signed_in(browser, ops, lang)
    ops.answers.append((422, {"code": "invalid", "errors": [{"pointer": "/rate_per_s", "detail": "want a number from 10 to 1000, or null"}]}))
    found(browser, "#rate_per_s").send_keys("20")
    acts(browser, ops, "rate")
    says(browser, "#rate_per_s-wrong", said("wrong./rate_per_s", lang, floor="10", ceiling="1,000"))
    ops.answers.append((422, {"code": "invalid", "errors": [{"pointer": "/undo", "detail": "want the newest version"}]}))
    acts(browser, ops, "pause")
    says(browser, "#act-said", said("act.refused", lang, why=said("wrong./undo", lang)))
    ops.answers.append((403, {"code": "cross-site"}))
    acts(browser, ops, "pause")
    says(browser, "#act-said", said("act.refused", lang, why=said("problem.cross-site", lang)))
    assert found(browser, "#reason").get_attribute("value") == "downstream asked"
    assert found(browser, "#rate_per_s").get_attribute("value") == "20"


def test_an_act_without_an_answer_may_be_in_force(browser: Browser, ops: Ops) -> None:
    signed_in(browser, ops)
    found(browser, "#reason").send_keys("why")
    ops.stop()
    found(browser, "[data-act=pause]").click()
    waits(browser, lambda: text(browser, "#act-said") == said("act.no-answer"))
    ops.start()


def test_a_session_that_ended_asks_again_and_keeps_what_was_typed(browser: Browser, ops: Ops) -> None:
    signed_in(browser, ops)
    browser.delete_all_cookies()
    found(browser, "#message").send_keys("half a sentence")
    found(browser, "#reason").send_keys("why")
    found(browser, "[data-act=message]").click()
    waits(browser, lambda: found(browser, "#token").is_displayed())
    assert text(browser, "#sign-in-said") == said("sign-in.again")
    assert ops.acts == []
    assert not found(browser, "#acts").is_displayed()
    signs_in(browser)
    waits(browser, lambda: found(browser, "#acts").is_displayed())
    assert found(browser, "#message").get_attribute("value") == "half a sentence"
    found(browser, "[data-act=message]").click()
    waits(browser, lambda: ops.acts == [{"message": "half a sentence", "reason": "why"}])


def test_a_wrong_token_is_told_and_the_right_one_shows_the_trail(browser: Browser, ops: Ops) -> None:
    ops.audit = [{"time": "2026-12-17T21:00:00.000+00:00", "who": "10.0.0.7", "changed": {"told_per_s": [50.0, None]}, "reason": "<b>why</b>", "version": 5}]
    opened(browser, ops)
    assert found(browser, "#token").get_attribute("type") == "password"
    assert found(browser, "#token").get_attribute("autocomplete") == "off"
    assert ops.count("GET /api/audit") == 0
    signs_in(browser, "a guess")
    waits(browser, lambda: text(browser, "#sign-in-said") == said("sign-in.wrong"))
    signs_in(browser)  # what is there is selected: typing replaces it
    waits(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#audit tbody tr")) == 1)
    row = text(browser, "#audit tbody")
    assert "10.0.0.7" in row
    assert "<b>why</b>" in row
    assert said("changed", name=said("name.told_per_s"), before="50", after=said("told.free")) in row
    count = ops.count("GET /api/audit")
    ops.says("act", version=6, changed={"is_paused": [False, True]}, reason="another operator")
    waits(browser, lambda: ops.count("GET /api/audit") == count + 1)
    browser.get(ops.url)
    waits(browser, lambda: found(browser, "#acts").is_displayed())  # the session outlives the page
    found(browser, "#sign-out").click()
    waits(browser, lambda: found(browser, "#token").is_displayed())
    assert "DELETE /api/session" in ops.asked
    assert not found(browser, "#audit").is_displayed()


def test_bound_elsewhere_there_is_nothing_but_the_form_until_one_signs_in(browser: Browser, ops: Ops, screens: Path) -> None:
    ops.is_closed = True
    browser.looks(width=360)
    browser.get(ops.url)
    waits(browser, lambda: found(browser, "#token").is_displayed())
    assert ops.count("GET /api/") == 0
    assert not found(browser, "#seen").is_displayed()
    assert not found(browser, "#stale").is_displayed()
    assert ops.frame["room"]["name"] not in found(browser, "body").text
    browser.shoot(screens / "ops-signed-out.png")
    assert not violations(browser)
    signs_in(browser)
    waits(browser, lambda: found(browser, "#up .text").text)
    assert found(browser, "#acts").is_displayed()


def test_a_session_that_ends_bound_elsewhere_closes_the_page(browser: Browser, ops: Ops) -> None:
    opened(browser, ops)
    ops.is_closed = True
    ops.stop()
    ops.start()
    waits(browser, lambda: found(browser, "#sign-in-why").text == said("sign-in.page"))
    assert not found(browser, "#seen").is_displayed()
    signs_in(browser)
    waits(browser, lambda: found(browser, "#up").is_displayed())
    now = caught_up(browser, ops)
    assert now == [row[0] for row in ops.rows if row[0] <= now[-1]]


def test_an_act_by_keyboard_alone(browser: Browser, ops: Ops) -> None:
    opened(browser, ops)

    def until(claim: Callable[[WebElement], bool]) -> None:
        for _ in range(60):
            browser.switch_to.active_element.send_keys(Keys.TAB)
            if claim(browser.switch_to.active_element):
                return
        raise AssertionError("no such stop of the tab key")

    until(lambda stop: stop.get_attribute("id") == "token")
    browser.switch_to.active_element.send_keys(TOKEN, Keys.ENTER)
    waits(browser, lambda: browser.switch_to.active_element.get_attribute("id") == "reason")
    browser.switch_to.active_element.send_keys("by hand", Keys.ENTER)  # Enter in a field acts on nothing
    until(lambda stop: stop.get_attribute("data-act") == "close")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    waits(browser, lambda: browser.switch_to.active_element.get_attribute("id") == "confirm-no")
    browser.switch_to.active_element.send_keys(Keys.SHIFT, Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    waits(browser, lambda: ops.acts == [{"closed": True, "reason": "by hand"}])
