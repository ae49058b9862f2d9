"""What a rehearsal leaves: result.json for the next one, report.html for people, junit.xml for CI.  Of Result values, and nothing else.

The page is one file that asks nobody for anything: its policy forbids even itself to try, charts are SVG in text, there
is no script.  Its first screen is for who decides; everything below for who must find out why.
"""

import json
import math
import re
from pathlib import Path
from string import Template
from typing import Any, Final
from xml.etree import ElementTree as ET

import msgspec
from msgspec import inspect

from loadtests.report import sections
from loadtests.report.against import at_percentile
from loadtests.report.figures import UNKNOWN, duration, latency, percent, plain, said
from loadtests.result import Result, Verdict

HTML_BYTES_MAX: Final = 400 * 1024
_PAGE: Final = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
_STYLE: Final = re.sub(r"/\*.*?\*/\n?", "", Path(__file__).with_name("report.css").read_text(encoding="utf-8"))

# Colour, sign and one sentence; the words are sections.WORDS.
_TICK, _CROSS, _ALARM, _QUESTION = "M8 26L19 37L41 12", "M11 11L37 37M37 11L11 37", "M24 6L44 42H4ZM24 19V29M24 35V36", "M15 16A9 9 0 1 1 24 26V31M24 39V40"
_FIRST: Final = {
    Verdict.PASS: ("pass", _TICK, "Every objective was met."),
    Verdict.MISSED: ("missed", _CROSS, "At least one objective was not met."),
    Verdict.BROKE: ("grey", _QUESTION, "The rehearsal did not come to its end: it says nothing of the gateway, good or bad."),
    Verdict.GENERATOR: ("grave", _ALARM, "Not a pass. What was meant was not sent as it was meant, so nothing can be said of the gateway."),
    Verdict.LOST: ("grave", _ALARM, "Something happened that must never happen. The evidence is below, under Ledgers."),
}


def html(result: Result, *, previous: Result | None = None, beside: Result | None = None) -> str:
    """The whole page."""
    kind, icon, meaning = _FIRST[result.verdict]
    made = [
        ("beside", f"With {beside.name} beside it" if beside else "", sections.beside(result, beside)),
        ("timeline", "Timeline", sections.over_time(result) if result.timeline.get("at_s") else ""),
        ("slo", "Objectives by phase", sections.slo(result)),
        ("ledgers", "Ledgers", sections.ledgers(result)),
        ("latency", "Latency", sections.latencies(result)),
        ("waits", "Waits and fairness", sections.waits(result)),
        ("bottlenecks", "Bottlenecks", sections.bottlenecks(result)),
        ("honesty", "Honesty of the generator", sections.honesty(result)),
        ("compared", "Compared with before", sections.compared(result, previous)),
        ("origin", "Machine and seed", sections.origin(result)),
    ]
    shown = [(name, head, body) for name, head, body in made if body]
    return _PAGE.substitute(
        STYLE=_STYLE,
        TAB=said(f"{sections.WORDS[result.verdict]} · {result.name}"),
        NAME=said(result.name),
        BEGAN=said(result.began),
        TITLE=said(result.title or result.name),
        WHY=said(result.why),
        KIND=kind,
        ICON=icon,
        WORDS=sections.WORDS[result.verdict] + (" · SIMULATED" if result.is_simulated else ""),
        MEANING=f"{meaning} Exit code {int(result.verdict)}.",
        REASONS=f'<ul class="reasons">{"".join(f"<li>{said(one)}</li>" for one in result.reasons)}</ul>' if result.reasons else "",
        IS_VOID="void" if sections.is_void(result) else "",
        HOW_KIND="simulated" if result.is_simulated else "run",
        HOW="SIMULATED in virtual time over the gateway’s rules: no server ran, no request was sent."
        if result.is_simulated
        else "Run against servers, not simulated.",
        SCALE=said(result.scale),
        KEY_FIGURES="".join(f"<div><dt>{name}</dt><dd>{figure}</dd><dd>{more}</dd></div>" for name, figure, more in _key_figures(result)),
        NAV="".join(f'<li><a href="#{name}">{said(head)}</a></li>' for name, head, _ in shown),
        SECTIONS="\n".join(
            f'<section id="{name}" aria-labelledby="{name}-head"><h2 id="{name}-head">{said(head)}</h2>{body}</section>' for name, head, body in shown
        ),
    )


def _key_figures(result: Result) -> list[tuple[str, str, str]]:
    """Four: did the load happen, were promises kept, was anything wrong, how was it for people."""
    found = result.honesty
    met, wrong = sum(row.is_met for row in result.slo), sum(check.count for check in result.checks)
    is_void = sections.is_void(result)
    figures = [
        ("Arrivals sent", f"{found.sent:,}", f"{percent(sections.offered(found))} of {found.meant:,} meant"),
        ("Objectives met", UNKNOWN if is_void or not result.slo else f"{met} of {len(result.slo)}", "not to be believed" if is_void else "by phase, below"),
        ("Lost, doubled or unfair", f"{wrong:,}" if result.checks else UNKNOWN, f"in {len(result.checks)} checks" if result.checks else "nothing was checked"),
    ]
    if result.waits is not None and result.waits.passed:
        return [*figures, ("Median wait in line", duration(result.waits.wait_p50_s), f"{duration(result.waits.wait_p99_s)} for the slowest 1 %")]
    p99s = [(at_percentile(curve.percentiles, curve.corrected_ms, 99), curve.call) for curve in result.curves]
    worst, call = max(((value, call) for value, call in p99s if math.isfinite(value)), default=(math.nan, "nothing was answered"))
    return [*figures, ("Latency of the slowest call, p99", latency(worst), said(call))]


# result.json


def json_bytes(result: Result) -> bytes:
    """One line; NaN, which JSON has not, is null (so is an infinity)."""
    return msgspec.json.encode(result)


def read(path: Path) -> Result:
    """What write() left; null where a number belongs is NaN again.

    Raises:
        OSError: there is none.
        msgspec.DecodeError: it is no result.
    """
    try:
        found = json.loads(path.read_bytes())
    except ValueError as exc:
        raise msgspec.DecodeError(f"{path}: {exc}") from None
    return msgspec.convert(_with_nan(found, inspect.type_info(Result)), Result)


def _with_nan(value: Any, kind: inspect.Type) -> Any:
    """NaN for each null that stands where the type has a float and no None; all else as it is, for convert() to judge."""
    made = value
    match kind, value:
        case inspect.FloatType(), None:
            made = math.nan
        case inspect.ListType(item_type=item), list():
            made = [_with_nan(one, item) for one in value]
        case inspect.TupleType(item_types=items), list():
            made = [_with_nan(one, item) for one, item in zip(value, items, strict=False)]
        case inspect.DictType(value_type=item), dict():
            made = {name: _with_nan(one, item) for name, one in value.items()}
        case inspect.StructType(fields=fields), dict():
            kinds = {field.encode_name: field.type for field in fields}
            made = {name: _with_nan(one, kinds.get(name, inspect.AnyType())) for name, one in value.items()}
        case inspect.UnionType(types=types), dict():
            made = next((_with_nan(value, one) for one in types if isinstance(one, inspect.StructType)), value)
    return made


# junit.xml


def junit(result: Result) -> bytes:
    """A suite named as the scenario: a case for each objective and check, and one for the generator."""
    suite = ET.Element(
        "testsuite", name=plain(result.name), timestamp=plain(result.began), time=f"{result.drained_s:.3f}" if math.isfinite(result.drained_s) else "0"
    )
    is_void = sections.is_void(result)
    for row in result.slo:
        case = _case(suite, result, "slo", f"{row.phase}: {row.metric} {row.bound}")
        if is_void:
            ET.SubElement(case, "skipped", message="the rehearsal is not to be believed")
        elif not row.is_met:
            _told(case, "failure", f"{row.says}: {row.shown or UNKNOWN}, want {row.bound}", [])
    for check in result.checks:
        case = _case(suite, result, "ledgers", check.name)
        if check.count:
            _told(case, "failure", f"{check.says}: {check.count}", check.evidence)
    case = _case(suite, result, "generator", "honesty")
    if result.verdict is Verdict.GENERATOR or result.honesty.problems:
        _told(case, "error", sections.WORDS[Verdict.GENERATOR], result.honesty.problems or result.reasons)
    case = _case(suite, result, "harness", "ran to its end")
    if result.verdict == Verdict.BROKE:
        _told(case, "error", sections.WORDS[result.verdict], result.reasons)
    ET.SubElement(suite, "system-out").text = plain("\n".join([f"{sections.WORDS[result.verdict]} (exit code {int(result.verdict)})", *result.reasons]))
    for kind, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(kind, str(sum(1 for _ in suite.iter(tag))))
    ET.indent(suite)
    return bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True)) + b"\n"


def _case(suite: ET.Element, result: Result, group: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=plain(f"{result.name}.{group}"), name=plain(name))


def _told(case: ET.Element, kind: str, message: str, lines: list[str]) -> None:
    ET.SubElement(case, kind, message=plain(message)).text = "\n".join(plain(line) for line in lines)


# The three


def write(directory: Path, result: Result, *, previous: Result | None = None, beside: Result | None = None) -> Path:
    """Write all three, each whole or not at all; returns where the page is.  The JSON first: a page can be made from it again."""
    directory.mkdir(parents=True, exist_ok=True)
    _put(directory / "result.json", json_bytes(result))
    _put(directory / "junit.xml", junit(result))
    page = directory / "report.html"
    _put(page, html(result, previous=previous, beside=beside).encode())
    return page


def _put(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.draft")
    draft.write_bytes(content)
    draft.replace(path)
