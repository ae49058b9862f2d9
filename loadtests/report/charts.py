"""Charts as SVG in text: lines with gaps, spans of time, cells.  Pure: values in, markup out; colours are report.css's.

           ┌ svg.chart ──── as wide as the page, no viewBox: letters keep their size on a phone
     100   │ ┌ svg.plot ─── viewBox 0 0 1200 400, preserveAspectRatio="none": only this one is stretched,
      50   │ │              and strokes keep their width (vector-effect in the style)
       0   │ └ svg.tips ─── what the pointer is told: parts of equal width
           └ 0:00   1:00    below it; the labels on the left stand in the chart's margin

A value is placed by an Axis, as a share of its length.  NaN is a gap; a value alone between two gaps is a dot.
Paths are in whole units and relative, for the size of the page.
"""

import math
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from typing import Final, NamedTuple

from loadtests.report.figures import clock, said

WIDE: Final = 1200  # units of the plot: two for each of at most 600 points
HIGH: Final = 400
HEAD_PX: Final = 8  # half the label of the topmost tick
FOOT_PX: Final = 20
ROW_PX: Final = 26  # of a span: a line of text and a bar
PHONE_PX: Final = 285  # the narrowest chart whose labels must not touch
LETTER_PX: Final = 7
LETTERS_MAX: Final = 38  # of a label: what a phone has room for
FEW_TICKS: Final = 6  # of more, a phone shows every other one
FEW_BANDS: Final = 12  # more are drawn fainter
_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800)


class Axis(NamedTuple):
    """From where to where, and what is written along it."""

    least: float
    most: float
    ticks: list[tuple[float, str]]
    is_log: bool = False

    def at(self, value: float) -> float:
        """0 at the least, 1 at the most; what lies outside is put at the edge."""
        least, most = self.least, self.most
        if self.is_log:
            value, least, most = (math.log10(max(one, self.least)) for one in (value, least, most))
        return min(max((value - least) / (most - least), 0.0), 1.0)


class Line(NamedTuple):
    """Values over the x of a chart."""

    label: str
    style: int  # 1.. of report.css: a colour and a dash
    ys: Sequence[float]


class Span(NamedTuple):
    """A time that has a name; equal ends are an instant."""

    from_s: float
    to_s: float
    label: str
    kind: str  # "phase" or "fault"


def time_axis(least_s: float, most_s: float) -> Axis:
    """Round minutes, at most seven."""
    most_s = max(most_s, least_s + 1)
    step = next((one for one in _STEPS_S if (most_s - least_s) / one <= 7), 86_400)
    first = math.ceil(least_s / step)
    instants = [number * step for number in range(first, math.floor(most_s / step) + 1)]
    return Axis(least_s, most_s, [(one, clock(one)) for one in instants])


def linear_axis(values: Sequence[float], shown: Callable[[float], str]) -> Axis:
    """From zero to a round number above all of them."""
    top = max((value for value in values if math.isfinite(value)), default=0.0)
    top = top if top > 0 else 1.0
    unit = 10.0 ** math.floor(math.log10(top / 3))
    step = next(unit * times for times in (1, 2, 2.5, 5, 10, 20) if unit * times * 3 >= top)
    ticks = [step * number for number in range(math.ceil(top / step - 1e-9) + 1)]
    return Axis(0.0, ticks[-1], [(one, shown(one)) for one in ticks])


def log_axis(values: Sequence[float], shown: Callable[[float], str]) -> Axis:
    """Whole powers of ten around all of them; at most five are named."""
    known = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
    least, most = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    most = max(most, least + 1)
    step = math.ceil((most - least) / 4)
    return Axis(10.0**least, 10.0**most, [(10.0**power, shown(10.0**power)) for power in range(least, most + 1, step)], is_log=True)


def lines(xs: Sequence[float], drawn: Sequence[Line], x: Axis, y: Axis, says: str, *, bands: Sequence[Span] = (), tips: Sequence[str] = ()) -> str:
    """A chart of lines; `bands` lie behind them, `tips` are equal parts of the width that say what was there."""
    paths = "".join(f'<path class="s{line.style}" d="{_path(xs, line.ys, x, y)}"/>' for line in drawn)
    return _chart(paths, HIGH, x, y, says, bands=bands, tips=tips)


def spans(rows: Sequence[Sequence[Span]], x: Axis, says: str) -> str:
    """What happened when: a row for each line of them, the label above its bar."""
    inside = "".join(_span(span, ROW_PX * number, x) for number, row in enumerate(rows) for span in row)
    return f'<svg role="img" class="chart" height="{ROW_PX * len(rows)}" aria-label="{said(says)}">{inside}</svg>'


def packed(found: Sequence[Span], x: Axis) -> list[list[Span]]:
    """In as few rows as keep their labels apart on a phone."""
    rows: list[tuple[list[Span], float]] = []  # and where the last one ends
    for span in sorted(found, key=lambda one: one.from_s):
        width = _phone_width(span.label)
        start = min(x.at(span.from_s), max(1 - width, 0)) if _leans(span, x) else x.at(span.from_s)
        end = max(start + width, x.at(span.to_s))
        free = next((number for number, (_, ends) in enumerate(rows) if ends <= start + 1e-9), None)
        if free is None:
            rows.append(([span], end))
        else:
            rows[free] = ([*rows[free][0], span], end)
    return [row for row, _ in rows]


def cells(heat: Sequence[tuple[float, float, Sequence[int]]], x: Axis, y: Axis, rows: int, says: str, bands: Sequence[Span] = ()) -> str:
    """A heat map of (from, to, levels by row): 0 is nothing, 1..7 a shade.  Rows rise."""
    shades: dict[int, list[str]] = {}
    for from_s, to_s, levels in heat:
        left, right = round(x.at(from_s) * WIDE), round(x.at(to_s) * WIDE)
        for number, level in enumerate(levels):
            if level:  # a stroke as thick as a row is high: half as long in text as a box
                shades.setdefault(level, []).append(f"M{left} {rows - 1 - number}h{max(right - left, 1)}")
    paths = "".join(f'<path class="h{level}" d="{"".join(shades[level])}"/>' for level in sorted(shades))
    return _chart(f'<g class="cells" transform="translate(0 .5)">{paths}</g>', rows, x, y, says, bands=bands, plot_px=max(120, rows * 9))


def bar(share: float, most: float, bound: float) -> str:
    """A share of `most`, with a stroke where the bound is; beside a figure that says it."""
    width = min(max(share / most, 0.0), 1.0) * 100 if math.isfinite(share) else 0
    shade = "over" if share >= bound else "near" if share >= 0.8 * bound else "under"
    at = bound / most * 100
    return (
        f'<svg class="bar" aria-hidden="true"><rect class="{shade}" width="{width:.1f}%" height="100%"/><line x1="{at:.1f}%" x2="{at:.1f}%" y2="100%"/></svg>'
    )


def key(style: int) -> str:
    """A short piece of a line, for the legend."""
    return f'<svg class="key" aria-hidden="true"><path class="s{style}" d="M1 6H27"/></svg>'


def _chart(paths: str, high: int, x: Axis, y: Axis, says: str, *, bands: Sequence[Span] = (), tips: Sequence[str] = (), plot_px: int = 110) -> str:
    place = f'y="{HEAD_PX}" width="100%" height="{plot_px}"'
    return (
        f'<svg role="img" class="chart" height="{HEAD_PX + plot_px + FOOT_PX}" aria-label="{said(says)}">'
        f"<svg {place}>{_grid(x, y)}</svg>"
        f'<svg {place} class="plot" viewBox="0 0 {WIDE} {high}" preserveAspectRatio="none">{_bands(bands, x, high)}{paths}</svg>'
        f'<svg {place} class="names">{_labels(x, y)}</svg>{_tips(tips, place)}</svg>'
    )


def _path(xs: Sequence[float], ys: Sequence[float], x: Axis, y: Axis) -> str:
    """Each piece between two gaps begins with M, and one of a single point is a dot: a line of length 0."""
    pieces = []
    for is_known, points in groupby(zip(xs, ys, strict=True), key=lambda point: math.isfinite(point[1])):
        if is_known:
            placed = [(round(x.at(at) * WIDE), round((1 - y.at(value)) * HIGH)) for at, value in points]
            steps = [f"{right - left} {below - above}" for (left, above), (right, below) in pairwise(placed)]
            pieces.append(f"M{placed[0][0]} {placed[0][1]}{'l' + ' '.join(steps) if steps else 'h0'}".replace(" -", "-"))
    return "".join(pieces)


def _bands(bands: Sequence[Span], x: Axis, high: int) -> str:
    """Those that cannot be told apart are drawn once."""
    ends = dict.fromkeys((round(x.at(band.from_s) * WIDE), round(x.at(band.to_s) * WIDE)) for band in bands)
    boxes = "".join(f"M{left} 0h{right - left}v{high}H{left}z" for left, right in ends)
    return f'<path class="band{" faint" if len(ends) > FEW_BANDS else ""}" d="{boxes}"/>' if boxes else ""


def _grid(x: Axis, y: Axis) -> str:
    across = "".join(f'<line x2="100%" y1="{_down(y, value)}" y2="{_down(y, value)}"/>' for value, _ in y.ticks)
    return f'<g class="grid">{across}{"".join(_upright(x.at(value)) for value, _ in x.ticks)}</g>'


def _upright(share: float) -> str:
    return f'<line x1="{100 * share:.2f}%" x2="{100 * share:.2f}%" y2="100%"/>'


def _labels(x: Axis, y: Axis) -> str:
    up = "".join(f'<text x="-6" dy="4" y="{_down(y, value)}" class="end">{said(text)}</text>' for value, text in y.ticks)
    along = "".join(
        f'<text x="{100 * x.at(value):.2f}%" y="100%" dy="15" class="{_anchor(x.at(value))}{" odd" if number % 2 and len(x.ticks) > FEW_TICKS else ""}">{said(text)}</text>'
        for number, (value, text) in enumerate(x.ticks)
    )
    return up + along


def _tips(tips: Sequence[str], place: str) -> str:
    parts = "".join(f'<rect x="{number}" width="1" height="1"><title>{said(tip)}</title></rect>' for number, tip in enumerate(tips) if tip)
    return f'<svg {place} class="tips" viewBox="0 0 {len(tips)} 1" preserveAspectRatio="none">{parts}</svg>' if parts else ""


def _span(span: Span, top_px: int, x: Axis) -> str:
    left, right = 100 * x.at(span.from_s), 100 * x.at(span.to_s)
    at = f'x="100%" y="{top_px + 13}" class="end"' if _leans(span, x) else f'x="{left:.2f}%" y="{top_px + 13}"'
    width = f"{right - left:.2f}%" if right - left > 0.3 else "3"  # an instant has a width too, in pixels
    title = f"<title>{said(f'{span.label}: {clock(span.from_s)} to {clock(span.to_s)}'.removeprefix(': '))}</title>"
    bar = f'<rect class="{span.kind}" x="{left:.2f}%" width="{width}" y="{top_px + 17}" height="6">{title}</rect>'
    return f"<text {at}>{said(_cut(span.label))}</text>{bar}" if span.label else bar


def _leans(span: Span, x: Axis) -> bool:
    """Whether on a phone there is no room for the label to begin where its bar does: then it ends with the chart."""
    return x.at(span.from_s) + _phone_width(span.label) > 1


def _phone_width(label: str) -> float:
    return (len(_cut(label)) * LETTER_PX + 8) / PHONE_PX


def _cut(label: str) -> str:
    return label if len(label) <= LETTERS_MAX else f"{label[: LETTERS_MAX - 1]}…"


def _anchor(share: float) -> str:
    return "start" if share < 0.02 else "end" if share > 0.98 else "middle"


def _down(y: Axis, value: float) -> str:
    return f"{100 * (1 - y.at(value)):.1f}%"
