"""A rehearsal's report in a real browser: it can be read at any width, in light and dark, and it asks nobody for anything."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path

import pytest

from loadtests import report
from loadtests.result import Result
from tests.browser.harness import Browser, Scheme
from tests.browser.test_waiting import AXE
from tests.loadtests import results

pytestmark = pytest.mark.browser
MAKERS: tuple[Callable[[], Result], ...] = (
    results.passed,
    results.missed,
    results.broke,
    results.generator,
    results.lost,
    results.simulated,
    results.with_faults,
    results.long,
    results.hostile,
)


class Shelf:
    """A server with one page; it notes what it is asked for."""

    def __init__(self) -> None:
        self.html, self.asked = "", list[str]()
        shelf = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shelf.asked.append(self.path)
                body = shelf.html.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name there
                """Not on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/report.html"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    running = Shelf()
    yield running
    running.close()


def opens_all(browser: Browser) -> None:
    """What is folded away must fit too."""
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true })")


def violations(browser: Browser) -> list[str]:
    """As of the waiting page; the inside of a chart is left out, which is one picture with one text to who hears it."""
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    browser.execute_script(AXE)
    told = browser.execute_async_script(
        "const [rules, done] = arguments; axe.run({ exclude: ['svg.chart > *', 'table.dense tbody'] }, { runOnly: rules, resultTypes: ['violations'] }).then(done)",
        rules,
    )
    return [f"{one['id']}: {[node['html'][:120] for node in one['nodes']]}" for one in told["violations"]]


LOOKS = [*product(MAKERS, (390, 1280), ("light",)), *product((results.with_faults, results.lost), (390, 1280), ("dark",))]


@pytest.mark.parametrize(("make", "width", "scheme"), LOOKS)
def test_it_can_be_read_and_asks_for_nothing(browser: Browser, shelf: Shelf, screens: Path, make: Callable[[], Result], width: int, scheme: Scheme) -> None:
    """axe finds nothing; nothing sticks out; the console is silent; one request is made: for the page."""
    shelf.html = report.html(make(), previous=results.passed(), beside=results.with_faults())
    browser.looks(width=width, scheme=scheme, lang="en")
    browser.get(shelf.url)
    browser.shoot(screens / f"report-{make.__name__}-{width}-{scheme}.png")
    for _ in ("folded", "open"):
        assert browser.execute_script("return document.documentElement.scrollWidth") == width
        opens_all(browser)
    assert not browser.get_log("browser")  # type: ignore[no-untyped-call]
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert shelf.asked == ["/report.html"]
    assert not violations(browser)


@pytest.mark.parametrize("width", [390, 1280])
def test_letters_in_charts_keep_their_size(browser: Browser, shelf: Shelf, width: int) -> None:
    """12 px on a phone as on a desk, and no label of an axis lies on another."""
    shelf.html = report.html(results.long())
    browser.looks(width=width, lang="en")
    browser.get(shelf.url)
    sizes = browser.execute_script("return [...document.querySelectorAll('.chart text')].map((one) => getComputedStyle(one).fontSize)")
    assert set(sizes) == {"12px"}
    overlaps = browser.execute_script("""
        const shown = (svg) => [...svg.querySelectorAll('text')].map((one) => one.getBoundingClientRect()).filter((box) => box.width);
        const touch = (a, b) => a.left < b.right && b.left < a.right && a.top + 3 < b.bottom && b.top + 3 < a.bottom;
        return [...document.querySelectorAll('svg.chart')].flatMap((svg) => shown(svg).flatMap((a, n, all) =>
            all.slice(n + 1).filter((b) => touch(a, b)).map((b) => svg.getAttribute('aria-label').slice(0, 60))));
    """)
    assert overlaps == []


def test_on_paper_it_is_light_and_whole(browser: Browser, shelf: Shelf) -> None:
    shelf.html = report.html(results.passed())
    browser.looks(width=1280, scheme="dark", lang="en")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    browser.get(shelf.url)
    colours = browser.execute_script("const body = getComputedStyle(document.body); return [body.backgroundColor, body.color]")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert colours == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
