"""The sections of a report, from a Result to HTML: each is a function, and returns "" where it has nothing to say.

Pure.  Whatever comes from a result passes through figures.said() on its way; charts.py and panels.py do so themselves.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from loadtests.report import charts, panels
from loadtests.report.against import SAME, WAITS, changes, differences
from loadtests.report.charts import Axis, Line
from loadtests.report.figures import UNKNOWN, clock, duration, latency, number, percent, said
from loadtests.result import Curve, HeatMap, Honesty, Result, SloRow, Verdict

EVIDENCE_SHOWN_MAX: Final = 20  # of one check; all of it is in result.json
HEAT_COLUMNS_MAX: Final = 100
HEAT_TABLE_COLUMNS_MAX: Final = 12
SHADES: Final = 7

OK: Final = '<span class="ok">✓\u00a0{}</span>'
NO: Final = '<span class="no">✗\u00a0{}</span>'
MUTE: Final = '<span class="mute">{}</span>'
WORDS: Final = {
    Verdict.PASS: "PASS",
    Verdict.MISSED: "SLO MISSED",
    Verdict.BROKE: "HARNESS BROKE",
    Verdict.GENERATOR: "GENERATOR COULD NOT KEEP UP",
    Verdict.LOST: "LOST, DOUBLED OR UNFAIR",
}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], says: str, *, figures: frozenset[int] = frozenset(), kind: str = "") -> str:
    """Cells are HTML; the first of a row is its head, those in `figures` stand to the right.  Scrolls in its own box."""

    def cell(place: int, text: str, tag: str, also: str = "") -> str:
        return f"<{tag}{also}{' class=n' if place in figures else ''}>{text}</{tag}>"

    head = "".join(cell(place, text, "th", " scope=col") if text else "<td></td>" for place, text in enumerate(heads))
    body = "".join(
        ("<tr class=no-row>" if any('class="no"' in text for text in row) else "<tr>")
        + "".join(cell(place, text, "th" if place == 0 else "td", " scope=row" if place == 0 else "") for place, text in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return boxed(f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>', says)


def boxed(inside: str, says: str) -> str:
    """What may be wider than a phone; it can be reached and scrolled by keys."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{said(says)}">{inside}</div>'


def more(summary: str, inside: str) -> str:
    """For who wants the figures."""
    return f"<details><summary>{said(summary)}</summary>{inside}</details>"


# After the first screen, in this order


def beside(result: Result, other: Result | None) -> str:
    """The same load with and without, on equal axes."""
    if other is None:
        return ""
    both, name = (result, other), panels.goodput_of(result, other)
    found = [(one, panels.served(one, name)) for one in both]
    what = "answers 2xx" if name == "accepted" else "sign-ups"
    first, second = (f"<b>{said(one.name)}</b> got {number(served.mean)} {what} a second through" for one, served in found)
    rows = [[said(one.name), said(WORDS[one.verdict]), *panels.in_short(one, served)] for one, served in found]
    heads = ["", "verdict", f"{panels.LABELS[name]}/s", "best half-minute", "worst", "work waited for", "most waiting"]
    short = table([said(head) for head in heads], rows, "Side by side in figures", figures=frozenset(range(2, 6)))
    drawn = "".join(f'<div class="pair">{"".join(f"<div>{half}</div>" for half in halves)}</div>' for halves in panels.halves(both, name) if any(halves))
    return f'<p class="lede">While work waited, {first}, {second}. In the charts both have the same axes.</p>{short}{drawn}'


def over_time(result: Result) -> str:
    """All panels on one axis, faults across all of them."""
    x, columns, bands = panels.time_of(result), panels.thinned(result.timeline), panels.faults(result)
    drawn = "".join(panels.panel(one, columns, x, bands) for one in panels.PANELS)
    missing = ", ".join(dict.fromkeys(panels.unmeasured(result)))
    lede = "Time runs from the first arrival; every panel has the same axis." + (" A shaded band is the time of a fault." if bands else "")
    note = f"<p><small>Not measured: {said(missing)}.</small></p>" if missing else ""
    heads, rows = panels.table(result)
    shown = table([said(head) for head in heads], rows, "Timeline in figures", kind="dense")
    return f'<p class="lede">{lede}</p>{panels.when(result, x)}{drawn}{note}{more("Timeline in figures", shown) if rows else ""}'


def is_void(result: Result) -> bool:
    """Whether nothing can be said of the gateway.  What was lost was lost all the same."""
    return result.verdict in {Verdict.GENERATOR, Verdict.BROKE} or bool(result.honesty.problems)


def slo(result: Result) -> str:
    """By phase: what was wanted, what was measured."""
    if not result.slo:
        return ""
    parts = []
    for phase in dict.fromkeys(row.phase for row in result.slo):
        parts.append(f'<tr class="group"><th colspan="4" scope="rowgroup">{said(_phase(phase))}</th></tr>')
        parts += [_slo_row(row, is_void=is_void(result)) for row in result.slo if row.phase == phase]
    head = '<th scope="col">What</th><th scope="col">Met</th><th scope="col" class="n">Measured</th><th scope="col" class="n">Bound</th>'
    void = '<p class="notice">The rehearsal itself is not to be believed: these figures say nothing of the gateway.</p>' if is_void(result) else ""
    return void + boxed(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(parts)}</tbody></table>", "Objectives by phase")


def _slo_row(row: SloRow, *, is_void: bool) -> str:
    met = MUTE.format("says nothing") if is_void else OK.format("met") if row.is_met else NO.format("missed")
    return (
        f'<tr{"" if row.is_met or is_void else " class=no-row"}><th scope="row">{said(row.says)}<small><code>{said(row.metric)}</code></small></th>'
        f'<td>{met}</td><td class="n">{said(row.shown) or UNKNOWN}</td><td class="n">{said(row.bound)}</td></tr>'
    )


def _phase(phase: str) -> str:
    return "whole rehearsal" if phase == "all" else phase


def ledgers(result: Result) -> str:
    """Three books of one business, and what must never be."""
    if not (result.ledger or result.checks):
        return ""
    rows = [
        [said(row.what), *(_count(one) for one in (row.generator, row.gateway, row.kafka)), _spread(row.generator, row.gateway, row.kafka)]
        for row in result.ledger
    ]
    heads = ["", "generator", "gateway", "Kafka", "apart by"]
    books = table(heads, rows, "The three ledgers", figures=frozenset({1, 2, 3, 4})) if rows else ""
    none = MUTE.format("none found") if is_void(result) else OK.format("none")
    checked = [[said(check.says), NO.format(f"{check.count:,}") if check.count else none, _evidence(check.evidence)] for check in result.checks]
    lede = '<p class="lede">What the generator was told, what the gateway counted, and what Kafka holds. “—”: this ledger does not know it.</p>'
    never = f"<h3>What must never be</h3>{table(['', 'found', 'evidence'], checked, 'Checks of the ledgers and of fairness')}" if checked else ""
    return f"{lede if books else ''}{books}{never}"


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _spread(*values: int | None) -> str:
    known = [value for value in values if value is not None]
    return f"{max(known) - min(known):,}" if len(known) > 1 else UNKNOWN


def _evidence(found: Sequence[str]) -> str:
    if not found:
        return ""
    rest = f"<li>… and {len(found) - EVIDENCE_SHOWN_MAX:,} more in result.json</li>" if len(found) > EVIDENCE_SHOWN_MAX else ""
    return f"<ul>{''.join(f'<li>{said(one)}</li>' for one in found[:EVIDENCE_SHOWN_MAX])}{rest}</ul>"


def latencies(result: Result) -> str:
    """Percentiles and heat maps, a call at a time."""
    if not (result.curves or result.heat):
        return ""
    lede = (
        '<p class="lede">Corrected: from the instant a request was meant or due. Uncorrected: from its first byte, which is what a generator that waits '
        "for answers would have said. Where the two part, somebody waited before anything was sent.</p>"
    )
    x = panels.time_of(result)
    curves = "".join(f"<div>{_curve(curve)}</div>" for curve in result.curves)
    return f'{lede}<div class="pair">{curves}</div>' + "".join(_heat(heat, x, result) for heat in result.heat)


def _nines(percentile: float, last: float) -> float:
    """50 → 0.3, 90 → 1, 99 → 2, 99.9 → 3; all of them stand a little after the last that is less."""
    return -math.log10(1 - percentile / 100) if percentile < 100 else last


def _curve(curve: Curve) -> str:
    points = list(zip(curve.percentiles, curve.corrected_ms, curve.uncorrected_ms, strict=True))
    if not points:
        return ""
    # Of 130 answers the 99.9th percentile is the slowest one by another name: it would only draw the line out.
    told = [point for point in points if point[0] == 100 or (1 - point[0] / 100) * curve.count >= 1] or points
    last = max((_nines(one, 0) for one, _, _ in told if one < 100), default=1.0) + 1
    xs = [_nines(one, last) for one, _, _ in told]
    named = [(_nines(one, last), f"{one:g}") for one in (50, 90, 99, 99.9, 99.99, 99.999) if xs[0] <= _nines(one, last) <= last - 0.5]
    x = Axis(min(xs[0], xs[-1] - 0.1), xs[-1], [*named, (last, "max")])
    drawn = [Line("corrected", 1, [one for _, one, _ in told]), Line("uncorrected", 2, [one for _, _, one in told])]
    y = charts.log_axis([value for line in drawn for value in line.ys], latency)
    rows = [[f"{one:g}", latency(corrected), latency(uncorrected)] for one, corrected, uncorrected in points]
    few = "; ".join(f"{one:g}: {latency(corrected)}, {latency(uncorrected)}" for one, corrected, uncorrected in told[:: max(1, len(told) // 8)])
    legend = "".join(f"<span>{charts.key(line.style)} {line.label}</span>" for line in drawn)
    caption = f'<b>{said(curve.call)}</b> <small>{curve.count:,} answers, by percentile</small> <span class="keys">{legend}</span>'
    svg = charts.lines(xs, drawn, x, y, f"Latency of {curve.call} by percentile, corrected and uncorrected: {few}")
    shown = table(["percentile", "corrected", "uncorrected"], rows, f"Percentiles of {curve.call}", figures=frozenset({1, 2}))
    return f"<figure><figcaption>{caption}</figcaption>{svg}</figure>{more(f'Percentiles of {curve.call}', shown)}"


def _heat(heat: HeatMap, x: Axis, result: Result) -> str:
    columns = _merged(heat, HEAT_COLUMNS_MAX)
    most = max((count for _, _, counts in columns for count in counts), default=0)
    if most == 0:
        return ""
    rows = len(heat.above_ms)
    levels = [(from_s, to_s, [_level(count, most) for count in counts]) for from_s, to_s, counts in columns]
    y = Axis(0.0, float(rows), [(float(row), latency(heat.above_ms[row])) for row in _named(heat.above_ms)])
    busiest = max(range(rows), key=lambda row: sum(counts[row] for _, _, counts in columns))
    says = f"Latencies of {heat.call} over time: most answers took more than {latency(heat.above_ms[busiest])} and less than the next step; darker is more."
    swatches = "".join(f'<svg aria-hidden="true"><rect width="14" height="12" class="h{level}"/></svg>' for level in range(1, SHADES + 1))
    caption = f'<b>{said(heat.call)}</b> <small>how many answers took how long, when (corrected)</small> <span class="keys"><span>1 <span class="shades">{swatches}</span> {most:,} in a cell, log scale</span></span>'
    few = _merged(heat, HEAT_TABLE_COLUMNS_MAX)
    heads = ["above", *(clock(from_s) for from_s, _, _ in few)]
    figures = [[latency(heat.above_ms[row]), *(f"{counts[row]:,}" for _, _, counts in few)] for row in reversed(range(rows))]
    shown = table(heads, figures, f"Answers of {heat.call} by latency and time", kind="dense")
    svg = charts.cells(levels, x, y, rows, says, panels.faults(result))
    return f"<figure><figcaption>{caption}</figcaption>{svg}</figure>{more(f'Heat map of {heat.call} in figures', shown)}"


def _named(above_ms: Sequence[float]) -> list[int]:
    """Rows that begin at a power of ten; where there are not two, every so many."""
    powers = [row for row, above in enumerate(above_ms) if above > 0 and abs(math.log10(above) - round(math.log10(above))) < 0.01]
    return powers if len(powers) > 1 else list(range(0, len(above_ms), math.ceil(len(above_ms) / 6)))


def _merged(heat: HeatMap, most: int) -> list[tuple[float, float, list[int]]]:
    """At most so many columns, with their ends: the next one's beginning, or as long as the one before."""
    starts = heat.from_s
    if not starts:
        return []
    step = starts[1] - starts[0] if len(starts) > 1 else 1.0
    ends = [*starts[1:], starts[-1] + step]
    together = math.ceil(len(starts) / most)
    parts = [slice(first, first + together) for first in range(0, len(starts), together)]
    return [(starts[part][0], ends[part][-1], [sum(counts) for counts in zip(*heat.counts[part], strict=True)]) for part in parts]


def _level(count: int, most: int) -> int:
    """0 for none; else by the logarithm: a single answer that took five seconds must be seen beside a thousand quick ones."""
    return 0 if count == 0 else 1 + round((SHADES - 1) * math.log(count) / math.log(most)) if most > 1 else SHADES


def waits(result: Result) -> str:
    """Of those in line."""
    found = result.waits
    if found is None:
        return ""
    shown: dict[str, Callable[[float], str]] = {
        "wait_p50_s": duration,
        "wait_p99_s": duration,
        "estimate_error_p50": percent,
        "overtaken_worst_s": duration,
        "called_to_pass_p99_s": duration,
        "door_used": percent,
        "drain_deepest_minute": percent,
        "most_in_1s": percent,
        "most_in_10s": percent,
    }
    people = [["People who joined", f"{found.people:,}"], ["of them through the door", f"{found.passed:,}"], ["of them left", f"{found.left:,}"]]
    figures = [[said(WAITS[name]), write(getattr(found, name))] for name, write in shown.items()]
    return table(["", ""], [*people, *figures], "Waits and fairness", figures=frozenset({1}), kind="short")


def bottlenecks(result: Result) -> str:
    """What came nearest to its bound, first."""
    ranked = sorted(result.bottlenecks, key=lambda one: -one.share if math.isfinite(one.share) else math.inf)
    if not ranked:
        return ""
    most = max([1.1, *(one.share * 1.02 for one in ranked if math.isfinite(one.share))])
    most = min(most, 3.0)  # one that is far over its bound must not press the others flat
    rows = [[said(one.what), percent(one.share), charts.bar(one.share, most, 1.0), clock(one.at_s), said(one.says)] for one in ranked]
    body = table(["", "of its bound", "", "at", ""], rows, "What may limit, by share of its bound", figures=frozenset({1}))
    body = body.replace('<td><svg class="bar"', '<td class="bars"><svg class="bar"')
    columns = panels.thinned(result.timeline)
    cores = panels.panel(panels.CORES, columns, panels.time_of(result), panels.faults(result))
    return f'<p class="lede">Each in its worst ten seconds; the upright stroke is the bound.</p>{body}{cores}'


def honesty(result: Result) -> str:
    """Whether any of it may be believed."""
    found = result.honesty
    kept = OK.format("The generator kept up.") if found.meant else MUTE.format("Nothing was meant to be sent.")
    word = NO.format("The generator did not keep up.") if found.problems or result.verdict is Verdict.GENERATOR else kept
    problems = f"<ul>{''.join(f'<li>{said(one)}</li>' for one in found.problems)}</ul>" if found.problems else ""
    again = f" This was try {found.tries} of the whole rehearsal: the generator could not keep up in the one before." if found.tries > 1 else ""
    rows = [
        ["Arrivals sent", f"{found.sent:,} of {found.meant:,}", percent(offered(found)), "at least 99 %"],
        ["Late to start, p99", "", latency(found.late_p99_ms), "at most 20 ms"],
        ["Busiest process, of one core", "", percent(found.cpu_share), "at most 80 %"],
    ]
    return f'<p class="lede">{word}{again}</p>{problems}{table(["", "", "", "to be believed"], rows, "Honesty of the generator", figures=frozenset({1, 2, 3}), kind="short")}'


def offered(found: Honesty) -> float:
    """Sent of meant; nan where nothing was meant."""
    return found.sent / found.meant if found.meant else math.nan


def compared(result: Result, previous: Result | None) -> str:
    """Before → now."""
    if previous is None:
        return ""
    words = {"better": OK.format("better"), "worse": NO.format("worse"), "same": MUTE.format("same"), "": ""}
    rows = [
        ["Verdict", said(WORDS[previous.verdict]), said(WORDS[result.verdict]), "", ""],
        *([said(one.what), said(one.before) or UNKNOWN, said(one.now) or UNKNOWN, one.change, words[one.tells]] for one in changes(previous, result)),
    ]
    unlike = differences(previous, result)
    note = f'<div class="notice"><p>Not the same conditions, so read changes with care:</p><ul>{"".join(f"<li>{said(one)}</li>" for one in unlike)}</ul></div>'
    lede = f'<p class="lede">With the rehearsal that began {said(previous.began)}. A change within {SAME:.0%} counts as none.</p>'
    return f"{lede}{note if unlike else ''}{table(['', 'before', 'now', 'change', ''], rows, 'Comparison with an earlier rehearsal', figures=frozenset({1, 2, 3}))}"


def origin(result: Result) -> str:
    """Enough to do it again."""
    facts = {
        "Scenario": result.name,
        "Began": result.began,
        "Arrivals for": duration(result.seconds),
        "Then until all was answered": duration(result.drained_s),
        "Scale": result.scale,
        "Seed": str(result.seed),
        "SHA-256 of the arrivals meant": result.meant_sha256,
        **result.machine,
    }
    return f'<dl class="facts">{"".join(f"<dt>{said(name)}</dt><dd>{said(value)}</dd>" for name, value in facts.items() if value)}</dl>'
