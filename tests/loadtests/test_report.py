"""What a rehearsal leaves: the page's structure, and that it asks nobody for anything; the JSON and the JUnit beside it."""

import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from loadtests import report
from loadtests.result import Bottleneck, Mark, Result, Verdict
from tests.loadtests import results

WORDS = {
    results.passed: "PASS",
    results.missed: "SLO MISSED",
    results.broke: "HARNESS BROKE",
    results.generator: "GENERATOR COULD NOT KEEP UP",
    results.lost: "LOST, DOUBLED OR UNFAIR",
}
KINDS = [*WORDS, results.with_faults, results.simulated, results.hostile]
VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})


class Page(HTMLParser):
    """Elements as (name, attributes, text within), and whether they were closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(html)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element: tuple[str, dict[str, str], list[str]] = (tag, {name: value or "" for name, value in attrs}, [])
        self.found.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, _, texts in self._open:
            texts.append(data)

    def all(self, tag: str, **wanted: str) -> list[str]:
        """Texts of elements with such attributes; `kind` is a class."""
        kind = wanted.pop("kind", "")
        return [
            " ".join("".join(texts).split())
            for name, attributes, texts in self.found
            if name == tag and (not kind or kind in attributes.get("class", "").split()) and wanted.items() <= attributes.items()
        ]

    @property
    def text(self) -> str:
        """All of it."""
        first = self.found[0] if self.all("body") == [] else next(one for one in self.found if one[0] == "body")
        return " ".join("".join(first[2]).split())


def first_screen(html: str) -> Page:
    return Page(html[html.index("<header>") : html.index("</header>") + len("</header>")])


# The first screen


@pytest.mark.parametrize("make", WORDS)
def test_the_first_screen_has_the_verdict_and_why(make: Callable[[], Result]) -> None:
    result = make()
    page = first_screen(report.html(result))
    assert page.all("p", kind="words") == [WORDS[make]]
    assert f"Exit code {int(result.verdict)}." in page.all("div", kind="verdict")[0]
    assert page.all("li") == [" ".join(reason.split()) for reason in result.reasons]
    assert page.all("h1") == [result.title or result.name]
    assert len(page.all("dt")) == 4


@pytest.mark.parametrize("make", [results.generator, results.broke])
def test_what_says_nothing_never_looks_like_a_pass(make: Callable[[], Result]) -> None:
    """No green word or tick anywhere, though all bounds were met on paper."""
    page = Page(report.html(make()))
    assert not page.all("div", kind="pass")
    assert not page.all("span", kind="ok")
    assert "✓" not in page.text


def test_what_was_lost_is_lost_though_the_generator_was_late() -> None:
    result = msgspec.structs.replace(results.lost(), honesty=results.generator().honesty)
    page = Page(report.html(result))
    assert page.all("p", kind="words") == ["LOST, DOUBLED OR UNFAIR"]
    assert "says nothing" in page.all("section", id="slo")[0]


def test_a_simulation_says_so_loudly() -> None:
    page = first_screen(report.html(results.simulated()))
    assert page.all("p", kind="words") == ["PASS · SIMULATED"]
    assert "no server ran" in page.all("p", kind="simulated")[0]
    assert "not simulated" in first_screen(report.html(results.passed())).all("p", kind="run")[0]


# The rest


def test_every_bound_check_and_figure_is_there() -> None:
    result = results.lost()
    page = Page(report.html(result))
    for row in result.slo:
        assert any(all(text in found for text in (row.says, row.metric, row.bound, row.shown)) for found in page.all("tr"))
    for check in result.checks:
        assert check.says in page.text
        assert all(evidence in page.text for evidence in check.evidence)
    for row_of in result.ledger:
        figures = [f"{value:,}" if value is not None else "—" for value in (row_of.generator, row_of.gateway, row_of.kafka)]
        assert any(
            found.startswith(" ".join([row_of.what, *figures[:1]]).replace("  ", " ").split(" ")[0]) and "".join(figures) in found for found in page.all("tr")
        )
    for curve in result.curves:
        assert f"{curve.call} {curve.count:,} answers" in page.text
    assert all(one.what in page.text and one.says in page.text for one in result.bottlenecks)
    assert result.meant_sha256 in page.text
    assert str(result.seed) in page.text


def test_met_and_missed_are_said_in_words() -> None:
    page = Page(report.html(results.missed()))
    rows = [row for row in page.all("section", id="slo")[0].split("✗") if row]
    assert len(rows) == 3  # two missed
    assert len(page.all("tr", kind="no-row")) == 2


def test_much_evidence_is_cut_and_says_so() -> None:
    result = results.lost()
    checks = [msgspec.structs.replace(result.checks[0], evidence=[f"person {number}" for number in range(1_000)])]
    page = Page(report.html(msgspec.structs.replace(result, checks=checks)))
    assert "person 19" in page.text
    assert "person 20" not in page.text
    assert "… and 980 more in result.json" in page.text


def test_headings_are_in_order_and_links_go_somewhere() -> None:
    page = Page(report.html(results.missed(), previous=results.passed(), beside=results.passed()))
    levels = [int(tag[1]) for tag, _, _ in page.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes, _ in page.found if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {attributes["href"].removeprefix("#") for tag, attributes, _ in page.found if tag == "a"} <= set(ids)


def test_every_chart_says_what_it_shows() -> None:
    page = Page(report.html(results.with_faults(), beside=results.passed()))
    charts = [attributes for tag, attributes, _ in page.found if tag == "svg" and attributes.get("class") == "chart"]
    assert len(charts) > 15
    assert all(one["role"] == "img" and len(one["aria-label"]) > 30 for one in charts)


def test_faults_lie_across_every_panel() -> None:
    result = results.with_faults()
    timeline = re.search(r'<section id="timeline".*?</section>', report.html(result), re.DOTALL)
    assert timeline
    page = Page(timeline[0])
    panels = [attributes for _, attributes, _ in page.found if attributes.get("class") == "plot"]
    bands = [attributes["d"] for _, attributes, _ in page.found if attributes.get("class") == "band"]
    assert len(panels) == len(bands) == 8
    assert set(bands) == {bands[0]}
    assert bands[0].count("M") == len(result.marks)
    assert "worker.kill, 6 times" in page.text
    assert "redis.pause: 2:00 to 2:10" in page.text


def test_side_by_side_has_both_figures_and_equal_axes() -> None:
    html = report.html(results.missed(), beside=results.passed())
    section = re.search(r'<section id="beside".*?</section>', html, re.DOTALL)
    assert section
    page = Page(section[0])
    assert re.search(r"dec18-nogate got [\d.]+ sign-ups a second through, dec18 got [\d.]+ sign-ups", page.text)
    halves = [figure for figure in re.findall(r"<figure>.*?</figure>", section[0], re.DOTALL) if "<b>Goodput</b>" in figure]
    ticks = [re.findall(r'class="end">([\d,]+)</text>', half) for half in halves]
    assert len(ticks) == 2
    assert ticks[0] == ticks[1] != []
    assert html.index('id="beside"') < html.index('id="timeline"')


def test_a_comparison_says_what_changed() -> None:
    page = Page(report.html(results.missed(), previous=msgspec.structs.replace(results.missed(), slo=results.passed().slo, seed=7)))
    compared = page.all("section", id="compared")[0]
    assert re.search(r"204 ms\s*8\.21 s\s*\+3925 %\s*✗ worse", compared)
    assert "seed: 7 before, 18 now" in compared


def test_nothing_measured_is_a_gap_and_never_a_zero() -> None:
    """Redis is paused for ten seconds: the line of people breaks there, and one value alone in it is a dot."""
    found = re.search(r"<figure><figcaption><b>People waiting</b>.*?</figure>", report.html(results.with_faults()), re.DOTALL)
    assert found
    depth = re.search(r'class="s1" d="([^"]+)"', found[0].split("</figcaption>")[1])
    assert depth
    pieces = depth[1].split("M")[1:]
    assert len(pieces) == 3
    assert re.fullmatch(r"\d+ \d+h0", pieces[1])
    nothing = msgspec.structs.replace(
        results.passed(), timeline={name: [math.nan] * 9 if name != "at_s" else list(map(float, range(9))) for name in results.passed().timeline}
    )
    page = Page(report.html(nothing))
    assert "Not measured:" in page.all("section", id="timeline")[0]
    assert not page.all("figcaption")[:1] or page.all("figcaption")[0] == "Phases"


def test_no_figure_is_called_nan() -> None:
    result = results.passed()
    assert result.waits is not None
    unknown = msgspec.structs.replace(result.waits, estimate_error_p50=math.nan, door_used=math.nan)
    result = msgspec.structs.replace(result, waits=unknown, bottlenecks=[Bottleneck("Kafka", math.nan, math.nan, "")], drained_s=math.nan)
    text = Page(report.html(result, previous=result)).text
    assert not re.search(r"\b(nan|NaN|inf|None)\b", text)


# What others wrote


def test_nothing_of_a_result_is_markup() -> None:
    html = report.html(results.hostile(), previous=results.hostile(), beside=results.hostile())
    page = Page(html)  # every element is closed in order
    assert not {"script", "img", "iframe", "object", "form"} & {tag for tag, _, _ in page.found}
    assert not [name for _, attributes, _ in page.found for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    html.encode()  # no lone surrogate


@pytest.mark.parametrize("make", KINDS)
def test_the_page_asks_nobody_for_anything(make: Callable[[], Result]) -> None:
    html = report.html(make(), previous=results.passed(), beside=results.passed())
    policy = next(attributes["content"] for _, attributes, _ in Page(html).found if attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert not re.search(r"https?://|url\(|@import", html)
    for tag, attributes, _ in Page(html).found:
        assert not {"src", "srcset", "action", "xlink:href"} & set(attributes), tag
        assert attributes.get("href", "#").startswith(("#", "data:,"))


# Size


def test_an_hour_with_everything_fits() -> None:
    result = results.long(3_600)
    html = report.html(result, previous=result, beside=result)
    print(f"{len(html.encode()):,} bytes")
    assert len(html.encode()) <= report.HTML_BYTES_MAX


def test_a_day_with_a_thousand_faults_fits_too() -> None:
    day = results.morning(3_600)
    day = {name: values * 24 for name, values in day.items()}
    day["at_s"] = [float(second) for second in range(86_400)]
    marks = [Mark("worker.kill", 80.0 * number, 80.0 * number) for number in range(1_000)]
    html = report.html(msgspec.structs.replace(results.long(), timeline=day, marks=marks, seconds=86_400.0))
    assert len(html.encode()) <= report.HTML_BYTES_MAX
    assert "worker.kill, 1,000 times (100 drawn)" in html


# Files


def same(one: object, other: object) -> bool:
    """Equal, and nan is nan."""
    return repr(one) == repr(other)


@pytest.mark.parametrize("make", KINDS[:-1])
def test_json_comes_back_as_it_was(make: Callable[[], Result], tmp_path: Path) -> None:
    result = make()
    report.write(tmp_path, result)
    back = report.read(tmp_path / "result.json")
    assert same(back, result)
    assert report.html(back) == report.html(result) == (tmp_path / "report.html").read_text(encoding="utf-8")


def test_null_is_nan_only_where_a_number_belongs(tmp_path: Path) -> None:
    """The line may be none, a ledger may not know: they stay None."""
    result = msgspec.structs.replace(results.missed(), drained_s=math.nan)
    report.write(tmp_path, result)
    back = report.read(tmp_path / "result.json")
    assert back.waits is None
    assert back.ledger[2].kafka is None
    assert math.isnan(back.drained_s)
    assert math.isnan(back.timeline["depth"][0])


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"name": 1}', b"\xff"])
def test_what_is_no_result_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(content)
    with pytest.raises(msgspec.DecodeError):
        report.read(tmp_path / "result.json")


def test_all_three_are_written_and_no_draft_is_left(tmp_path: Path) -> None:
    page = report.write(tmp_path / "new" / "dir", results.passed(), previous=results.passed(), beside=results.missed())
    assert sorted(path.name for path in page.parent.iterdir()) == ["junit.xml", "report.html", "result.json"]


# JUnit


def suite(result: Result) -> ET.Element:
    return ET.fromstring(report.junit(result))


def test_junit_has_a_case_for_each_bound_and_check() -> None:
    result = results.missed()
    found = suite(result)
    assert found.tag == "testsuite"
    assert found.get("name") == "dec18-nogate"
    assert found.get("tests") == str(len(result.slo) + len(result.checks) + 2)
    assert (found.get("failures"), found.get("errors"), found.get("skipped")) == ("2", "0", "0")
    assert [failure.get("message") for failure in found.iter("failure")] == [
        "sign-ups, p99 from the instant each was due: 8.21 s, want ≤ 800 ms",
        "sign-ups that downstream consumed: 3.9/s, want ≥ 10/s",
    ]


def test_junit_has_the_evidence() -> None:
    failure = next(suite(results.lost()).iter("failure"))
    assert (failure.text or "").splitlines() == results.lost().checks[0].evidence


@pytest.mark.parametrize(("make", "errors"), [(results.passed, "0"), (results.generator, "1"), (results.broke, "1")])
def test_a_generator_that_was_late_is_an_error_and_no_pass(make: Callable[[], Result], errors: str) -> None:
    found = suite(make())
    assert found.get("errors") == errors
    assert found.get("skipped") == (str(len(make().slo)) if make().verdict is Verdict.GENERATOR else "0")


def test_junit_survives_what_no_xml_may_hold() -> None:
    assert "<script>alert(1)</script>" in (suite(results.hostile()).get("name") or "")
